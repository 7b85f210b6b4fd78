"""One response against what was expected of it: ok or not, hit or not, and every reason why."""

import codecs
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from cachekit.events import VERIFY, TargetDone
from cachekit.model import Expect, Site, Verdict, has_userinfo, shown_url
from cachekit.replay import Response
from cachekit.warming.headers import header_values
from cachekit.warming.lane import Target
from cachekit.warming.verdicts import (
    FORBIDS_STORING,
    NO_SIGNAL,
    Classifier,
    Signal,
    reasons_not_hit,
    shortened,
)

MAX_HOPS = 10
_HIT = Verdict.HIT
_FROM_STORE = (Verdict.HIT, Verdict.STALE)
_MUCH_FASTER = 4
_DECODED_BYTES = 8 * 1024**2
# As Python names them.
_CODECS = re.compile(
    r"utf-8(-sig)?|utf-16(-[bl]e)?|ascii|iso8859-\d+|cp125\d|koi8-[ru]"
    r"|gbk|gb2312|gb18030|big5(hkscs)?|shift_jis|euc_jp|euc_kr|cp9(32|49|50)|iso2022_jp"
)
_LOGIN = re.compile(
    rb"(?i)[/?&=_-](log-?in|sign-?in|sso|auth|authenticate|session/new)(?=[/?&=._-]|$)"
)


class Judge:
    """Judges the responses of one pass.

    `elapsed` gives the seconds since the fill pass began, `cold` each node's median time in it.
    """

    def __init__(
        self,
        pass_name: str,
        site: Site,
        classifier: Classifier,
        *,
        elapsed: Callable[[], float],
        cold: Mapping[str, float],
        last_pass: bool,
    ) -> None:
        self._pass_name = pass_name
        self._site = site
        self._verifying = pass_name == VERIFY
        self._classify = classifier.signal
        self._elapsed = elapsed
        self._cold = cold
        # Cold pages are slow by nature: time is judged where visitors would meet it.
        self._judges_time = last_pass

    def done(self, target: Target, response: Response) -> TargetDone:
        """Judge one final answer."""
        way, head = target.way, response.head
        signal = self._classify(head) if head else NO_SIGNAL
        verdict, detail = signal.verdict, signal.shown
        reasons: tuple[str, ...] = ()
        if response.fault or not way.is_plain or target.hops or not 200 <= response.status < 300:
            reasons = self._failures(target, response, signal)
        ok = not reasons
        if not ok:
            detail = _failure_detail(response, signal)
            verdict = Verdict.UNKNOWN if reasons == ("not-decodable",) else Verdict.ERROR
        elif verdict is _HIT:
            reasons = () if way.traits.cacheable else ("unexpected-hit",)
        elif self._verifying:
            reasons, verdict = self._why_not_hit(target, response, signal)
        return TargetDone(
            way.asked,
            target.ordinal,
            target.public_url,
            ok,
            verdict,
            response.status,
            response.seconds,
            target.retries,
            reasons,
            detail,
            head,
        )

    def _failures(self, target: Target, response: Response, signal: Signal) -> tuple[str, ...]:
        if response.fault is not None:
            return (response.fault.value,)
        way = target.way
        reasons = list(self._status_failures(target, response))
        if way.personal and signal.verdict in _FROM_STORE:
            reasons.append("leak")
        slowest = way.expect.max_time
        if self._judges_time and slowest is not None and response.seconds > slowest:
            reasons.append("slow")
        if way.expect.needs_body and not response.redirect_url:
            reasons += _content_failures(target.body, response.head, way.expect)
        return tuple(reasons)

    def _status_failures(self, target: Target, response: Response) -> Iterator[str]:
        status, expected = response.status, target.way.expect.status
        if _leads_to_login(target, response):
            yield "login-redirect"
        elif status in expected if expected else 200 <= status < 300:
            return
        elif not response.redirect_url:
            yield f"status-{status}"
        elif not self._site.owns(response.redirect_url):
            yield "redirect-off-site"
        else:
            yield "redirect-loop" if target.hops >= MAX_HOPS else "redirect"

    def _why_not_hit(
        self, target: Target, response: Response, signal: Signal
    ) -> tuple[tuple[str, ...], Verdict]:
        found = reasons_not_hit(response.head, response.status, signal, elapsed=self._elapsed())
        reasons = [*_credentials(target), *found]
        if signal is NO_SIGNAL and self._is_quick(target, response):
            reasons.append("weak-time")
        verdict = signal.verdict
        if verdict is Verdict.MISS:
            if FORBIDS_STORING.intersection(reasons):
                verdict = Verdict.UNCACHEABLE
            elif not reasons:
                reasons.append("gone")
        # Of a URL that is listed as not cacheable nobody asks why.
        return tuple(reasons) if target.way.traits.cacheable else (), verdict

    def _is_quick(self, target: Target, response: Response) -> bool:
        cold = self._cold.get(target.way.lane.node)
        return cold is not None and response.seconds * _MUCH_FASTER < cold


def follow(target: Target, response: Response, site: Site) -> bool:
    """Point the target at where a redirect leads, if that is on the site; it stays on its node."""
    url = response.redirect_url
    if not url or target.hops >= MAX_HOPS or not site.owns(url) or has_userinfo(url):
        return False
    target.hops += 1
    target.restart(url)
    return True


def _leads_to_login(target: Target, response: Response) -> bool:
    reached = response.redirect_url or (target.url if target.hops else b"")
    # A page that is itself about logging in may move: what counts is what the list did not name.
    return bool(_login_words(reached) - _login_words(target.public_url)) if reached else False


def _login_words(url: bytes) -> set[bytes]:
    return {word.lower() for word in _LOGIN.findall(url)}


def _failure_detail(response: Response, signal: Signal) -> str:
    if response.fault is not None:
        return response.detail
    if response.redirect_url:
        return shortened(f"Location: {shown_url(response.redirect_url)}")
    return signal.shown


def _content_failures(body: bytes, head: bytes, expect: Expect) -> Iterator[str]:
    try:
        text = decoded_text(body, head)
    except ValueError:
        yield "not-decodable"
        return
    missing = any(wanted not in text for wanted in expect.contains or ())
    if missing or (expect.matches and not _compiled(expect.matches).search(text)):
        yield "content"
    if any(marker in text for marker in expect.not_contains or ()):
        yield "marker"


def decoded_text(body: bytes, head: bytes) -> str:
    """Decode what was kept of a body, by its Content-Encoding and charset. Raises ValueError."""
    encodings = [
        e.strip().lower()
        for value in header_values(head, "Content-Encoding")
        for e in value.split(",")
    ]
    for encoding in reversed(encodings):
        if encoding not in ("", "identity"):
            if encoding not in _DECODERS:
                raise ValueError(f"unknown Content-Encoding {encoding}")
            body = _DECODERS[encoding](body)
    content_type = " ".join(header_values(head, "Content-Type"))
    charset = re.search(r"charset=\"?([\w.:-]+)", content_type)
    return body.decode(_codec(charset[1]) if charset else "utf-8", "replace")


@lru_cache(maxsize=256)
def _codec(charset: str) -> str:
    """Give the codec of a charset that pages have; others may take minutes, as punycode does."""
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        return "utf-8"
    return name if _CODECS.fullmatch(name) else "utf-8"


def _gunzip(body: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(body, _DECODED_BYTES)
    except zlib.error as error:
        raise ValueError("not gzip") from error


def _inflate(body: bytes) -> bytes:
    for window in (15, -15):  # zlib by its header, else the raw deflate some servers send
        try:
            return zlib.decompressobj(window).decompress(body, _DECODED_BYTES)
        except zlib.error:
            continue
    raise ValueError("not deflate")


def _brotli(body: bytes) -> bytes:
    import brotli

    try:
        decoded: bytes = brotli.Decompressor().process(body, output_buffer_limit=_DECODED_BYTES)
    except brotli.error as error:
        raise ValueError("not brotli") from error
    return decoded


def _zstd(body: bytes) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            return reader.read(_DECODED_BYTES)
    except zstandard.ZstdError as error:
        raise ValueError("not zstd") from error


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _inflate,
    "br": _brotli,
    "zstd": _zstd,
}


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _credentials(target: Target) -> Iterator[str]:
    names = {line.partition(":")[0].lower() for line in target.manner.headers}
    yield from (name for name in ("authorization", "cookie") if name in names)
