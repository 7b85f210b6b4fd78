"""Which cache is acted on where, and in which order; whatever cannot work is refused here.

Pure: no server is asked. A Selection says by name what is meant, and where; it becomes Steps, and
these a Plan: stages from the inside out.
"""

from cachekit.plan.clears import plan_clear
from cachekit.plan.looks import is_per_release, plan_releases, plan_status
from cachekit.plan.primes import plan_prime
from cachekit.plan.selection import Selection
from cachekit.plan.steps import Action, Plan, Step

__all__ = [
    "Action",
    "Plan",
    "Selection",
    "Step",
    "is_per_release",
    "plan_clear",
    "plan_prime",
    "plan_releases",
    "plan_status",
]
