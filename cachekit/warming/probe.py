"""A first look at each node before anything is warmed: does it answer for the site, and how."""

from collections.abc import Container, Sequence

from cachekit.model import PLAIN, Node, Site, Variant, shown, shown_url
from cachekit.quantities import format_seconds
from cachekit.replay import Batch, Manner, Request, Response, replay, route_to
from cachekit.results import Probe
from cachekit.settings import Settings
from cachekit.warming.plan import header_lines, refuse_twins, terms_of
from cachekit.warming.soundness import refuse_unsound
from cachekit.warming.verdicts import NO_SIGNAL, Classifier


def probe(settings: Settings, nodes: Sequence[Node]) -> list[Probe]:
    """Ask every node for the site's first page, side by side.

    Raises ConfigError where something cannot work that is known without asking.
    """
    refuse_unsound(settings, settings.warmlists)
    site = Site(settings.site, tuple(settings.allow_hosts))
    refuse_twins(nodes, site)
    headers = header_lines(settings, Variant(name=""), PLAIN)
    manners = {Manner(route_to(node, site), headers): node for node in nodes}
    first_page = site.absolute(b"/")
    answers = replay(
        Batch([Request(first_page, manner) for manner in manners]),
        terms=terms_of(settings),
        max_in_flight=settings.warm.max_in_flight,
    )
    classifier = Classifier(settings.warm.verdicts)
    wanted = settings.warm.expect.status or range(200, 300)
    found = {r.request.manner: (_serves(r, site, wanted), _found(r, classifier)) for r in answers}
    return [
        Probe(
            node=node.name, address=str(node.address), ok=found[manner][0], found=found[manner][1]
        )
        for manner, node in manners.items()
    ]


def _serves(response: Response, site: Site, wanted: Container[int]) -> bool:
    if response.fault is not None:
        return False
    return response.status in wanted or site.owns(response.redirect_url)


def _found(response: Response, classifier: Classifier) -> str:
    if response.fault is not None:
        return f"{response.fault}: {shown(response.detail)}"
    signal = classifier.signal(response.head)
    said = "no cache header" if signal is NO_SIGNAL else shown(signal.shown)
    if response.redirect_url:
        said = f"to {shown_url(response.redirect_url)}; {said}"
    return f"status {response.status} in {format_seconds(response.seconds)}; {said}"
