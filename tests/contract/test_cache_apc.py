"""Both segments of php-fpm keep the contract, each by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit.caches.apc import Apc
from cachekit.model import Node, parse_address
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.testing.caches import CacheContract, Stand
from tests.servers.php_fpm import PhpFpm

pytestmark = pytest.mark.server

NODES = {"web1": Node(name="web1", address=parse_address("127.0.0.1"))}


class UserContract(CacheContract):
    scope: Scope
    selected: tuple[str, ...]
    spared: tuple[str, ...]

    @pytest.fixture
    def stand(self) -> Iterator[Stand]:
        with PhpFpm() as fpm:
            yield Stand(
                cache=Apc(on=("web1",), sockets=fpm.sockets, segments=("user",)),
                scope=self.scope,
                selected=self.selected,
                spared=self.spared,
                put=fpm.put,
                is_there=lambda name: bool(fpm.there(name)),
                stop=fpm.kill,
                nodes=NODES,
            )


class TestUserKeys(UserContract):
    scope = Scope(Kind.KEY, ("shop:a", "123", "shop:é"))
    selected = ("shop:a", "123", "shop:é")
    spared = ("shop:ab", "12", "xshop:a")


class TestUserPrefix(UserContract):
    scope = Scope(Kind.PREFIX, ("shop:", "12.3"))
    selected = ("shop:a", "shop:", "12.345")
    spared = ("shop", "blog:shop:a", "12345")


class TestUserGlob(UserContract):
    scope = Scope(Kind.GLOB, ("shop:[a-c]?é", "~*"))
    selected = ("shop:axé", "shop:béé", "~", "~a\nb")
    spared = ("shop:dxé", "shop:aé", "shop:axé\n", "xshop:axé")


class TestUserEverything(UserContract):
    scope = EVERYTHING
    selected = ("shop:a", "blog:b")
    spared = ()


class OpcodeContract(CacheContract):
    selected: tuple[str, ...]
    spared: tuple[str, ...]

    def scope_in(self, top: Path) -> Scope:
        raise NotImplementedError

    @pytest.fixture
    def stand(self) -> Iterator[Stand]:
        with PhpFpm() as fpm:
            top = fpm.data_dir / "www"

            def run(name: str) -> None:
                if not (top / name).exists():
                    fpm.write(name, "<?php echo 1;")
                fpm.run(top / name)

            yield Stand(
                cache=Apc(on=("web1",), sockets=fpm.sockets, segments=("opcode",)),
                scope=self.scope_in(top),
                selected=self.selected,
                spared=self.spared,
                put=run,
                is_there=lambda name: fpm.is_cached(top / name)[0],
                stop=fpm.kill,
                nodes=NODES,
            )


class TestOpcodeEverything(OpcodeContract):
    selected = ("a.php", "app/b.php")
    spared = ()

    def scope_in(self, top: Path) -> Scope:
        return EVERYTHING


class TestOpcodePaths(OpcodeContract):
    selected = ("a.php", "app/b.php", "app/deep/c.php")
    spared = ("aa.php", "app2/b.php", "app.php", "é.php")

    def scope_in(self, top: Path) -> Scope:
        return Scope(Kind.PATH, (f"{top}/a.php", f"{top}/app/"))
