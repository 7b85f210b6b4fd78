"""A first look at each node before anything is warmed: does it answer for the site, and how."""

from collections.abc import Sequence

from cachekit.model import PLAIN, Node, Site, Variant, shown, shown_url
from cachekit.quantities import format_seconds
from cachekit.replay import Batch, Manner, Request, Response, replay, route_to
from cachekit.results import Probe
from cachekit.settings import Settings
from cachekit.warming.plan import header_lines, terms_of
from cachekit.warming.verdicts import NO_SIGNAL, Classifier


def probe(settings: Settings, nodes: Sequence[Node]) -> list[Probe]:
    """Ask every node for the site's first page, side by side."""
    site = Site(settings.site, tuple(settings.allow_hosts))
    headers = header_lines(settings, Variant(name=""), PLAIN)
    manners = {Manner(route_to(node, site), headers): node for node in nodes}
    first_page = site.absolute(b"/")
    answers = replay(
        Batch([Request(first_page, manner) for manner in manners]),
        terms=terms_of(settings),
        max_in_flight=settings.warm.max_in_flight,
    )
    classifier = Classifier(settings.warm.verdicts)
    found = {r.request.manner: _found(r, classifier) for r in answers}
    return [
        Probe(
            node=node.name, address=str(node.address), ok=found[manner][0], found=found[manner][1]
        )
        for manner, node in manners.items()
    ]


def _found(response: Response, classifier: Classifier) -> tuple[bool, str]:
    if response.fault is not None:
        return False, f"{response.fault}: {shown(response.detail)}"
    signal = classifier.signal(response.head)
    said = "no cache header" if signal is NO_SIGNAL else shown(signal.shown)
    if response.redirect_url:
        said = f"to {shown_url(response.redirect_url)}; {said}"
    text = f"status {response.status} in {format_seconds(response.seconds)}; {said}"
    return response.status < 500, text
