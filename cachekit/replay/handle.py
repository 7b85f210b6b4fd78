"""One libcurl easy handle: a Request and its Manner become options, an answer a Response."""

import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pycurl

from cachekit.replay.exchange import Fault, Manner, Request, Response, Route, Terms, encoded

_URL, _STATUS, _FIRST_BYTE, _TOTAL = (
    pycurl.URL,
    pycurl.RESPONSE_CODE,
    pycurl.STARTTRANSFER_TIME,
    pycurl.TOTAL_TIME,
)
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_FAULTS = {
    pycurl.E_COULDNT_CONNECT: Fault.CONNECT,
    pycurl.E_COULDNT_RESOLVE_HOST: Fault.CONNECT,
    pycurl.E_OPERATION_TIMEDOUT: Fault.CONNECT_TIMEOUT,
    pycurl.E_SSL_CONNECT_ERROR: Fault.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: Fault.TLS,
    pycurl.E_SSL_CERTPROBLEM: Fault.TLS,
    pycurl.E_SSL_CACERT_BADFILE: Fault.TLS,
    pycurl.E_SSL_CIPHER: Fault.TLS,
    pycurl.E_PARTIAL_FILE: Fault.TRUNCATED,
    pycurl.E_FILESIZE_EXCEEDED: Fault.TOO_LARGE,
    pycurl.E_WRITE_ERROR: Fault.TOO_LARGE,
    pycurl.E_URL_MALFORMAT: Fault.URL,
    pycurl.E_UNSUPPORTED_PROTOCOL: Fault.URL,
}
_LOCATION = re.compile(rb"(?i)\nLocation[ \t]*:[ \t]*([^\r\n#]*)")
_TARGET = re.compile(rb"[^:/?#]+://[^/?#]*([^#]*)")
# E_TOO_LARGE, which pycurl has no name for.
_WITHOUT_MESSAGE = {100: "a response header is larger than 100 KB"}
_NOTHING = Manner(Route())
_LOOKUP_SECONDS = 60  # as libcurl has it
_PERCENT = ord("%")  # as a number it is found at a fifth of the cost


class Handle:
    """An easy handle, reused: making one costs as much as a request.

    What belongs to it is kept here and not on the pycurl object, where reading an attribute costs
    half a microsecond.
    """

    __slots__ = (
        "_getinfo",
        "_has_target",
        "_head",
        "_manner",
        "_setopt",
        "_sink",
        "_terms",
        "curl",
        "request",
        "started",
    )

    def __init__(self, terms: Terms) -> None:
        self.curl = pycurl.Curl()
        self.request: Request
        self.started = 0.0
        self._terms = terms
        self._setopt, self._getinfo = self.curl.setopt, self.curl.getinfo
        self._head = bytearray()
        self._manner, self._has_target = _NOTHING, False
        self._sink: Callable[[bytes], int] | None = None
        self._set_up()

    def prepare(self, request: Request, now: float) -> None:
        """Make ready to ask; `now` is noted as the start."""
        url = request.url
        # libcurl would escape bytes of such a URL and turn `%d0` into `%D0`.
        wants_target = _PERCENT in url or not url.isascii()
        if self._has_target and not wants_target:
            self._renew()
        if self._manner is not request.manner:
            self._change_manner(request.manner)
        if self._sink is not request.sink:
            self._sink = request.sink
            self._setopt(pycurl.WRITEFUNCTION, request.sink or len)
        self._setopt(_URL, url)
        if wants_target:
            self._setopt(pycurl.REQUEST_TARGET, _target_of(url))
            self._has_target = True
        self.request = request
        self.started = now

    def response(self) -> Response:
        """Read the answer, whole or not; the handle is free again."""
        getinfo, head = self._getinfo, b""
        if self._head:
            head = bytes(self._head)
            self._head.clear()
            # Interim answers (100, 103) come first; trailers follow the final block and do no harm.
            final = head.rfind(b"\nHTTP/")
            if final >= 0:
                head = head[final + 1 :]
        status = getinfo(_STATUS)
        response = Response(self.request, status, head, getinfo(_TOTAL))
        if not 200 <= status < 300:
            self._add_rare(response)
        return response

    def is_silent(self) -> bool:
        """Whether no byte of an answer has come yet."""
        return not self._getinfo(_FIRST_BYTE)

    def _add_rare(self, response: Response) -> None:
        if response.status < 400:
            resolved = self.curl.getinfo_raw(pycurl.REDIRECT_URL) or b""
            response.redirect_url = _as_written(resolved, response.head) if resolved else b""
        response.retry_after = float(self._getinfo(pycurl.RETRY_AFTER))

    def _renew(self) -> None:
        """Unset what pycurl cannot unset alone; the connections are the multi handle's."""
        self.curl.reset()
        self._set_up()

    def _set_up(self) -> None:
        terms = self._terms
        self._manner, self._sink, self._has_target = _NOTHING, None, False
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            # HTTP_PROXY of the environment would swallow what is meant for a node.
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),  # else each request searches the environment for NO_PROXY
            (pycurl.PATH_AS_IS, 1),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.USERAGENT, ""),
            (
                pycurl.HTTP_VERSION,
                pycurl.CURL_HTTP_VERSION_2TLS if terms.http2 else pycurl.CURL_HTTP_VERSION_1_1,
            ),
            (pycurl.CONNECTTIMEOUT_MS, max(1, int(terms.connect_timeout * 1000))),
            (pycurl.TIMEOUT_MS, max(1, int(terms.timeout * 1000))),
            (pycurl.MAXFILESIZE_LARGE, terms.max_body),
            # Takes each chunk and keeps nothing, without entering Python.
            (pycurl.WRITEFUNCTION, len),
            (pycurl.HEADERFUNCTION, self._head.extend),
        ):
            self._setopt(option, value)
        self._set_trust()

    def _set_trust(self) -> None:
        terms = self._terms
        self._setopt(pycurl.SSL_VERIFYPEER, int(terms.verify))
        self._setopt(pycurl.SSL_VERIFYHOST, 2 if terms.verify else 0)
        self._setopt(pycurl.CAINFO, str(terms.ca_file or _ca_bundle()))
        if terms.client_certificate:
            self._setopt(pycurl.SSLCERT, str(terms.client_certificate))
            self._setopt(pycurl.SSLKEY, str(terms.client_key or terms.client_certificate))

    def _change_manner(self, manner: Manner) -> None:
        if self._manner.route.unix_path and not manner.route.unix_path:
            self._renew()
        previous = self._manner
        if manner.route is not previous.route:
            self._change_route(previous.route, manner.route)
        if manner.headers != previous.headers:
            self._set_list(pycurl.HTTPHEADER, [encoded(line) for line in manner.headers])
        if manner.method != previous.method:
            # With CUSTOMREQUEST alone libcurl would wait for the body that a HEAD never gets.
            self._setopt(pycurl.NOBODY, int(manner.method == "HEAD"))
            self._setopt(pycurl.CUSTOMREQUEST, manner.method)
        if manner.keep_head != previous.keep_head:
            self._setopt(pycurl.HEADERFUNCTION, self._head.extend if manner.keep_head else None)
        self._manner = manner

    def _change_route(self, previous: Route, route: Route) -> None:
        if route.connect_to != previous.connect_to:
            self._set_list(pycurl.CONNECT_TO, route.connect_to)
        if route.by_number != previous.by_number:
            # After each transfer libcurl looks for old entries among all that it ever looked up,
            # addresses too: of 250 nodes that costs as much as a seventh of a request.
            self._setopt(pycurl.DNS_CACHE_TIMEOUT, -1 if route.by_number else _LOOKUP_SECONDS)
        if route.unix_path and route.unix_path != previous.unix_path:
            self._setopt(pycurl.UNIX_SOCKET_PATH, route.unix_path)
        if route.proxy_protocol != previous.proxy_protocol:
            self._setopt(pycurl.HAPROXYPROTOCOL, int(route.proxy_protocol))

    def _set_list(self, option: int, lines: Sequence[bytes]) -> None:
        # pycurl takes an empty list for no change.
        if lines:
            self._setopt(option, lines)
        else:
            self.curl.unsetopt(option)


def explain(response: Response, code: int, message: str) -> None:
    """Say why there is no usable answer, from libcurl's code and, where that is vague, words."""
    fault = _FAULTS.get(code, Fault.BROKEN)
    # Others are "Connection timed out", "SSL connection timeout", "Resolving timed out".
    if fault is Fault.CONNECT_TIMEOUT and message.startswith("Operation"):
        fault = Fault.TIMEOUT
    elif fault is Fault.URL and "HTTP/0.9" in message:  # what came is no HTTP
        fault = Fault.BROKEN
    response.fault = fault
    response.detail = message or _WITHOUT_MESSAGE.get(code, f"libcurl error {code}")


def _target_of(url: bytes) -> bytes:
    """Give path and query as they are."""
    match = _TARGET.match(url)
    target = match[1] if match else b""
    return target if target.startswith(b"/") else b"/" + target


def _as_written(resolved: bytes, head: bytes) -> bytes:
    """Keep the escapes of a Location as browsers do, where libcurl turns `%d0` into `%D0`."""
    resolved = resolved.partition(b"#")[0]
    match = _LOCATION.search(head)
    written = match[1] if match else b""
    if not resolved.lower().endswith(written.lower()):
        return resolved
    return resolved[: len(resolved) - len(written)] + written


@cache
def _ca_bundle() -> Path:
    """Find trusted certificates, as the wheel's libcurl knows none.

    The system's, else certifi's.
    """
    for path in (os.environ.get("SSL_CERT_FILE", ""), *_CA_BUNDLES):
        if path and Path(path).is_file():
            return Path(path)
    import certifi

    return Path(certifi.where())
