#!/usr/bin/env bash
# Installs Debian packages whose programs are missing: install_debian.sh PROGRAM=PACKAGE ...
# Their services are not started. Without root or apt it says what to install, and that is all.
set -euo pipefail

readonly policy=/usr/sbin/policy-rc.d
readonly saved=$policy.before-cachekit
PATH=$PATH:/usr/sbin:/sbin

packages=()
for pair in "$@"; do
  # A package without a program of its own, such as a PHP extension, is given twice.
  command -v "${pair%%=*}" >/dev/null || dpkg --status "${pair#*=}" >/dev/null 2>&1 ||
    packages+=("${pair#*=}")
done
[[ ${#packages[@]} -gt 0 ]] || exit 0

if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "missing; install by your own means: ${packages[*]}" >&2
  exit 0
fi

restore() {
  rm -f "$policy"
  [[ ! -e $saved ]] || mv "$saved" "$policy"
}

install() {
  DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --quiet --no-install-recommends "${packages[@]}" </dev/null
}

# One at a time: a second would take the first one's policy for the machine's own.
exec 9<"${policy%/*}"
flock 9

# Ours may be there still, from a run that was killed.
[[ ! -e $policy ]] || grep --quiet cachekit "$policy" || mv "$policy" "$saved"
trap restore EXIT
# 101: the service must not be started.
printf '#!/bin/sh\n# Put here by the tests of cachekit while they install.\nexit 101\n' >"$policy"
chmod +x "$policy"

# A machine that has never asked knows no packages, and an old list names files that are gone.
install || { apt-get update --quiet && install; }
