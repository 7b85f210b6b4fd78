#!/usr/bin/env bash
# Deploys a commit by ssh alone; a plan of ./cachekit.yaml is run between upload and switch.
#
#   NODES="web1 web2" WHERE=/srv/shop deploy.sh [COMMIT] [OPTION OF cachekit run]...
#
# CACHEKIT_PLAN names the plan; default `deploy`. The script ends with the exit code of cachekit
# where that is not 0, and the old release stays live; `--soft-fail=3` accepts degraded.
set -euo pipefail

plan=${CACHEKIT_PLAN:-deploy}
nodes=${NODES:?the nodes, with spaces between them}
where=${WHERE:?the folder of releases/ and current}
commit=$(git rev-parse --verify "${1:-HEAD}^{commit}")
release=$where/releases/$commit
previous=$(ssh -n "${nodes%% *}" "cat '$where/current/REVISION' 2>/dev/null || true")

for node in $nodes; do
  git archive "$commit" | ssh "$node" \
    "mkdir -p '$release' && tar -x -C '$release' && echo '$commit' >'$release/REVISION'"
done

CACHEKIT_TOOL=ssh CACHEKIT_NODES=${nodes// /,} \
  cachekit run "$plan" "${@:2}" --release "$commit" ${previous:+--previous "$previous"}

for node in $nodes; do
  ssh -n "$node" "ln -sfn '$release' '$where/next' && mv -T '$where/next' '$where/current'"
done
