"""A small shop to deploy by some tool: its repository, its nodes, and what cachekit did there."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.command import Finished
from tests.servers.machine import Machine

HOOKS = Path(__file__).parent.parent.parent / "hooks"
WHERE = Path("/srv/shop")

SETTINGS = """\
site: http://shop.example
state_dir: {state_dir}
nodes:
{nodes}
warmlists: {{top: {{file: repository/pages.txt}}}}
warm: {{gate: {{min_hit: 100%}}}}
golive: {{ready: {{type: file, path: {ready}, noticed_within: 100ms}}}}
plans:
{plans}
"""
# Takes the nodes for known that the tests have started.
SSH = """\
#!/bin/sh
exec /usr/bin/ssh -F "$CACHEKIT_SSH_CONFIG" "$@"
"""
DEPLOY = "  deploy: [{warm: top}]"


@dataclass(eq=False)
class Shop:
    """What a tool deploys from `folder`: settings and repository are there; nodes by name.

    `pages` are the addresses of their page caches, `machines` what code is deployed to over ssh.
    """

    folder: Path
    pages: Mapping[str, str]
    machines: Mapping[str, Machine] = field(default_factory=dict)
    plans: str = DEPLOY
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        (bin_folder / "cachekit").symlink_to(Path(sys.executable).parent / "cachekit")
        (bin_folder / "ssh").write_text(SSH)
        (bin_folder / "ssh").chmod(0o755)
        usual = {k: v for k, v in os.environ.items() if not k.startswith(("CACHEKIT_", "GITHUB_"))}
        self.environment = usual | {
            "CACHEKIT_SSH_CONFIG": os.environ.get("CACHEKIT_SSH_CONFIG", ""),
            "PATH": f"{bin_folder}:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.folder),
            # The repository is found from everywhere, as by a tool that runs in it.
            "GIT_DIR": str(self.repository / ".git"),
            "LC_ALL": "C.UTF-8",
            "USER": "ann",
        }
        self.write_settings(self.plans)
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def ssh_config(self) -> str:
        """The configuration of ssh that knows the nodes."""
        return self.environment["CACHEKIT_SSH_CONFIG"]

    @property
    def repository(self) -> Path:
        """What is deployed."""
        return self.folder / "repository"

    def write_settings(self, plans: str) -> None:
        """Let these be the plans."""
        nodes = [f"  {name}: {self._node(name)}" for name in self.pages]
        text = SETTINGS.format(
            state_dir=self.folder / "state",
            nodes="\n".join(nodes),
            ready="/srv/ready" if self.machines else self.folder / "ready",
            plans=plans,
        )
        (self.folder / "cachekit.yaml").write_text(text)

    def _node(self, name: str) -> str:
        ssh = f", ssh: {name}" if name in self.machines else ""
        return f'{{address: "{self.pages[name]}", groups: web{ssh}}}'

    def git(self, *arguments: str) -> str:
        """Do something in the repository."""
        self.repository.mkdir(exist_ok=True)
        who = ["-c", "user.name=ann", "-c", "user.email=ann@shop.example"]
        argv = ["git", "-C", str(self.repository), *who, *arguments]
        done = subprocess.run(
            argv, check=True, capture_output=True, text=True, env=self.environment
        )
        return done.stdout.strip()

    def commit(self, page: str, *urls: str) -> str:
        """Commit a release whose front page says so, and which has more URLs; return its revision.

        One that has /broken is no good.
        """
        (self.repository / "index.html").write_text(page)
        (self.repository / "pages.txt").write_text("\n".join(("/", *urls)))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", page)
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, text: str) -> Path:
        """Put a file of the tool into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, argv: Sequence[str], **environment: str) -> Finished:
        """Run a tool in the folder, its output all in one."""
        done = subprocess.run(
            argv,
            check=False,
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
        )
        assert "Traceback (most recent call last)" not in done.stdout, done.stdout
        return Finished(done.returncode, done.stdout, "")

    def live(self, name: str) -> str:
        """Say which page a node shows to visitors; "" before the first deploy."""
        page = self.machines[name].srv / "shop" / "current"
        # A link of the machine leads into its own /srv.
        found = page.parent / "releases" / os.path.basename(os.readlink(page))  # noqa: PTH115, PTH119
        return (found / "index.html").read_text() if page.is_symlink() else ""

    def runs(self) -> list[dict[str, Any]]:
        """Tell what cachekit did here, the newest first."""
        done = self.run(["cachekit", "history", "--format", "json"])
        assert done.code == 0, done.stdout
        return [json.loads(line) for line in done.stdout.splitlines()]

    def last_run(self) -> dict[str, Any]:
        """Tell what cachekit did last: what the hook told it, and what came of it."""
        run = self.runs()[0]
        facts = {name: value for name, value in run["facts"].items() if value}
        return facts | {"plan": run["plan"], "code": run["exit_code"]}
