"""What is known of a deploy before anybody says it: from the environment, from files, from git."""

from cachekit.context.base import UNKNOWN, Context, Fact
from cachekit.context.environment import detect

__all__ = ["UNKNOWN", "Context", "Fact", "detect"]
