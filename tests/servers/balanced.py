"""Two nodes behind an HAProxy, and visitors who never stop asking."""

import http.client
import threading
from collections import Counter
from contextlib import ExitStack
from typing import Any, Self

from cachekit.model import Node, parse_address
from tests.servers.haproxy import Haproxy
from tests.servers.origin import Origin


class Balanced:
    """web1 and web2 behind one HAProxy, or more; `options` are those of `Haproxy`."""

    def __init__(self, balancers: int = 1, **options: Any) -> None:
        self.origins = {"web1": Origin(host="127.0.0.2"), "web2": Origin(host="127.0.0.3")}
        self.haproxies: list[Haproxy] = []
        self._wanted, self._options = balancers, options
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for origin in self.origins.values():
                stack.enter_context(origin)
            servers = {name: origin.address for name, origin in self.origins.items()}
            for _ in range(self._wanted):
                haproxy = Haproxy(servers=servers, **self._options)
                self.haproxies.append(stack.enter_context(haproxy))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def haproxy(self) -> Haproxy:
        """The first load balancer."""
        return self.haproxies[0]

    @property
    def nodes(self) -> tuple[Node, Node]:
        """Both nodes, as settings have them."""
        first, second = (
            Node(name=name, address=parse_address(origin.address), local=True)
            for name, origin in self.origins.items()
        )
        return first, second

    def reaches(self, node: Node) -> bool:
        """Tell whether visitors of any load balancer reach a node."""
        before = self.origins[node.name].count("/visit")
        for haproxy in self.haproxies:
            for _ in range(6):
                haproxy.ask("/visit")
        return self.origins[node.name].count("/visit") > before


class Traffic:
    """Visitors of one address in threads: half of them keep their connection, half do not."""

    def __init__(self, haproxy: Haproxy, visitors: int = 6) -> None:
        self.statuses: Counter[int | str] = Counter()
        self._haproxy = haproxy
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._visit, args=(number % 2 == 0,))
            for number in range(visitors)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    @property
    def seen(self) -> int:
        """How many answers there were so far."""
        with self._lock:
            return self.statuses.total()

    @property
    def failed(self) -> dict[int | str, int]:
        """Every status but 200, and every error, with its count."""
        with self._lock:
            return {status: count for status, count in self.statuses.items() if status != 200}

    def _visit(self, keeps: bool) -> None:
        client = http.client.HTTPConnection(self._haproxy.host, self._haproxy.port, timeout=20.0)
        headers = {} if keeps else {"Connection": "close"}
        while not self._ends.is_set():
            try:
                client.request("GET", "/page", headers=headers)
                answer = client.getresponse()
                answer.read()
                said: int | str = answer.status
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
                client.close()
            with self._lock:
                self.statuses[said] += 1
        client.close()
