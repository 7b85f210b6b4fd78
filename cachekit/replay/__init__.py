"""Many HTTP requests to chosen addresses, fast.

One libcurl multi loop in one thread, in constant memory.

It knows nothing of lists, passes or hits: an Admission says what may start and when, Responses come
out. Where a request goes is its Route; URL, Host, SNI, certificate check and pool keys stay those
of the public URL (CONNECT_TO). The shape of the loop and its traps were measured: see "Replay
engine" in docs/internals.md.
"""

from cachekit.replay.exchange import (
    Admission,
    Batch,
    Fault,
    Manner,
    Request,
    Response,
    Route,
    Terms,
    place_of,
    public_route,
    route_to,
)
from cachekit.replay.loop import replay

__all__ = [
    "Admission",
    "Batch",
    "Fault",
    "Manner",
    "Request",
    "Response",
    "Route",
    "Terms",
    "place_of",
    "public_route",
    "replay",
    "route_to",
]
