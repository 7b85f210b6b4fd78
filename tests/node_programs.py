"""Which programs a node has, as far as it is this machine."""

import os
import shutil
import sys
from pathlib import Path

from tests.servers.process import require_program


def path_with(folder: Path, *names: str) -> str:
    """Give a PATH on which nothing is found but the named programs."""
    for name in names:
        program = _python() if name == "python3" else require_program(name)
        (folder / name).symlink_to(Path(program).resolve())
    return os.fspath(folder)


def _python() -> str:
    """Find the system's Python: on the PATH may be a script that needs more, or one for root."""
    return shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
