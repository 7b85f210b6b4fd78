from pathlib import Path

import pytest

from tests.command import Cachekit


@pytest.fixture
def cachekit(tmp_path: Path) -> Cachekit:
    return Cachekit(tmp_path)
