"""What masters answered about the releases of a namespace in APCu."""

from collections import defaultdict

from cachekit.caches.apc.call import Step, ask_pool, encoded
from cachekit.caches.apc.reply import Master, Reply, error_of
from cachekit.caches.census import Count, start_of_any


def asking(namespace: str) -> Step:
    """Make the step that has a pool count what is there of each release."""
    start = start_of_any(namespace).decode("utf-8", "surrogateescape")
    return ask_pool("user.releases", start=encoded(start))


def by_release(reply: Reply) -> dict[str, Count]:
    """Add up what all masters have of each release by its token, aged since it was written.

    Raises the error of those that failed: what they have is not known.
    """
    answers, failures = reply.read(_counts)
    if failures:
        raise error_of(reply.place, failures, ())
    added: dict[str, Count] = defaultdict(Count)
    for counts in answers:
        for token, count in counts.items():
            added[token].add(count.items, count.size, count.oldest, count.newest)
    return added


def _counts(master: Master) -> dict[str, Count]:
    return {
        str(token): Count(int(items), int(size), _seconds(oldest), _seconds(newest))
        for token, items, size, oldest, newest in master.answer["counts"]
    }


def _seconds(age: int | None) -> float | None:
    return None if age is None else float(age)
