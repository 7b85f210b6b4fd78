"""Which programs a node has, as far as it is this machine."""

import os
import sys
from pathlib import Path

from tests.servers.process import require_program


def path_with(folder: Path, *names: str) -> str:
    """Give a PATH on which nothing is found but the named programs."""
    for name in names:
        # Not what stands for python3 in the PATH, which may be a script that needs more.
        program = sys.executable if name == "python3" else require_program(name)
        (folder / name).symlink_to(Path(program).resolve())
    return os.fspath(folder)
