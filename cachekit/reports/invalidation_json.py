"""Plans and runs of invalidation as JSON; docs/invalidation.md has the shape."""

import json
from typing import Any

from cachekit.chunks import Chunk
from cachekit.documents import VERSION, action_document, plain, warm_document
from cachekit.invalidation.assets import AssetFinding
from cachekit.invalidation.causes import Causes
from cachekit.invalidation.plan import InvalidationPlan
from cachekit.invalidation.run import InvalidationReport


def render(report: InvalidationReport, exit_code: int, *, dry_run: bool) -> str:
    """Write plan and run as one document."""
    document = {
        "version": VERSION,
        "command": "invalidate --dry-run" if dry_run else "invalidate",
        "site": report.plan.site,
        "outcome": report.outcome.value,
        "exit_code": int(exit_code),
        "elapsed": round(report.elapsed, 6),
        "ended_early": report.ended_early,
        "problem": report.problem,
        "plan": _plan(report.plan),
        "assets": [_asset(each) for each in report.assets],
        "clears": [action_document(each, each.exit_code) for each in report.clears],
        "warm": warm_document(report.warm) if report.warm else None,
        "chunks": [_chunk(each) for each in report.chunks.chunks] if report.chunks else [],
        "left": report.chunks.left if report.chunks else 0,
    }
    return json.dumps(document, indent=2) + "\n"


def _plan(plan: InvalidationPlan) -> dict[str, Any]:
    return {
        "changes": plan.changes,
        "clear": [
            {"cache": e.cache, "kind": e.kind.value, "value": e.value, "causes": _causes(causes)}
            for e, causes in plan.clears.items()
        ],
        "warm": [{"url": url, "causes": _causes(causes)} for url, causes in plan.warms.items()],
        "lists": list(plan.lists) if plan.within is not None else [],
        "within": [str(scope) for scope in plan.within or ()],
        "merged": [
            {
                "cache": merge.into.cache,
                "kind": merge.kind.value,
                "count": merge.count,
                "limit": merge.limit,
                "into": str(merge.into.scope),
            }
            for merge in plan.merges
        ],
        "ignored": plain(plan.ignored),
        "unmatched": plain(plan.unmatched),
        "left_out": plain(plan.left_out),
        "then": plan.then,
        "notes": list(plan.notes),
    }


def _causes(causes: Causes) -> list[dict[str, str]]:
    return [
        {"path": cause.change.path, "change": cause.change.kind.value, "rule": cause.rule}
        for cause in causes
    ]


def _asset(finding: AssetFinding) -> dict[str, Any]:
    (cause,) = _causes((finding.cause,))
    return {"url": finding.url, "browsers": finding.keeping.value, "found": finding.found, **cause}


def _chunk(chunk: Chunk) -> dict[str, Any]:
    return {
        "urls": list(chunk.urls),
        "outcome": chunk.outcome.value,
        "problem": chunk.problem,
        "not_warmed": dict(chunk.not_warmed),
        "cuts": dict(chunk.cuts),
        "clears": [action_document(each, each.exit_code) for each in chunk.clears],
        "warm": warm_document(chunk.warm) if chunk.warm else None,
    }
