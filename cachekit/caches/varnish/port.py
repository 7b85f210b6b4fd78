"""The way to a node's management port, and to the secret that it wants."""

from dataclasses import dataclass, replace
from pathlib import Path

from cachekit.caches.base import Place
from cachekit.caches.varnish.cli import Cli
from cachekit.deadline import Deadline
from cachekit.errors import RefusedError
from cachekit.model import Address, Node, shown
from cachekit.transports.local import Local

NODE_ADDRESS = "{address}"
"""Stands in `cli` for the address of the node itself."""


def node_of(place: Place) -> Node:
    """Give the node of a place; all places of Varnish are nodes."""
    assert place.node is not None  # noqa: S101
    return place.node


@dataclass(frozen=True, kw_only=True)
class ManagementPort:
    """Where varnishd listens for commands (-T), and its secret (-S), there or here."""

    address: Address
    secret_file: Path | None
    secret_here: bool

    @property
    def needs_transport(self) -> bool:
        """Whether it can be reached from the node alone."""
        on_node = self.secret_file is not None and not self.secret_here
        return self.address.is_loopback or on_node

    def open(self, place: Place, deadline: Deadline) -> Cli:
        """Connect and log in. Raises CachekitError."""
        secret = self._secret(place, deadline)
        address, node = self.address, node_of(place)
        if address.host == NODE_ADDRESS:
            if node.address.unix_path:
                raise RefusedError(place.name, f"cli: {address} needs a node with a host address")
            address = replace(address, host=node.address.host)
        is_direct = not address.is_loopback and node.ssh is None
        transport = Local(node.name) if is_direct else place.transport
        cli = Cli(place.name, transport.dial(address, deadline=deadline), deadline)
        try:
            cli.log_in(secret)
        except BaseException:
            cli.close()
            raise
        return cli

    def _secret(self, place: Place, deadline: Deadline) -> bytes | None:
        if self.secret_file is None:
            return None
        if self.secret_here:
            try:
                return self.secret_file.read_bytes()
            except OSError as error:
                raise RefusedError(
                    place.name, f"secret_file {self.secret_file} cannot be read: {error.strerror}"
                ) from error
        argv = ["cat", str(self.secret_file)]
        completed = place.transport.run(argv, deadline=deadline)
        if completed.status != 0:
            said = shown(completed.stderr.decode(errors="replace").strip())
            raise RefusedError(
                place.name,
                f"secret_file cannot be read on the node: {said}; let the user of cachekit read it"
                " there, or copy it to this machine and say `secret_here: true`",
            )
        return completed.stdout
