"""File caches keep the contract of caches, on nodes with python3 and on those with perl only."""

import shutil
from pathlib import Path
from typing import ClassVar

import pytest

from cachekit.caches.files import Files
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.testing.caches import CacheContract, Stand
from tests.node_programs import path_with
from tests.shelves import NODES


class FilesContract(CacheContract):
    scope = Scope(Kind.PATH, ("d1", "d2/a"))
    selected: tuple[str, ...] = ("d1/a", "d1/b", "d2/a")
    spared: tuple[str, ...] = ("d2/aa", "d2/b", "d3/d1", "d10")
    program: ClassVar[str] = "python3"

    @pytest.fixture
    def stand(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", path_with(tmp_path / "bin", "sh", self.program))
        top = tmp_path / "views"
        for folder in ("d1", "d2", "d3"):
            (top / folder).mkdir(parents=True)
        return Stand(
            cache=Files(on=("web1",), path=top, adopt=True),
            scope=self.scope,
            selected=self.selected,
            spared=self.spared,
            put=lambda name: (top / name).write_text("<p>"),
            is_there=lambda name: (top / name).is_file(),
            stop=lambda: shutil.rmtree(top),
            nodes=NODES,
        )


class TestFilesPaths(FilesContract):
    pass


class TestFilesGlob(FilesContract):
    scope = Scope(Kind.GLOB, ("d1/*", "**/[a]"))


class TestFilesEverything(FilesContract):
    scope = EVERYTHING
    selected = ("d1/a", "d2/a")
    spared = ()


class TestFilesPathsByPerl(TestFilesPaths):
    program = "perl"


class TestFilesGlobByPerl(TestFilesGlob):
    program = "perl"


class TestFilesEverythingByPerl(TestFilesEverything):
    program = "perl"
