"""A node answers alike however it is reached: here, and over SSH."""

import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

from cachekit.deadline import Deadline
from cachekit.errors import CommandError, UnreachableError
from cachekit.model import Address
from cachekit.transports import Local, Transport
from cachekit.transports.ssh import Ssh, close_masters
from tests.servers.process import free_port, wait_until
from tests.servers.sshd import SshClient, Sshd

pytestmark = pytest.mark.server

EVERY_BYTE = bytes(range(256))
# Prints its arguments as bytes, with what cannot be in one between them.
TELL = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"


def soon() -> Deadline:
    """For what must succeed, however busy the machine is."""
    return Deadline(60)


class Listener:
    """What listens on the node: it sends back what it gets, or stays silent."""

    def __init__(self, path: Path | None = None, *, silent: bool = False) -> None:
        family, where = (socket.AF_UNIX, str(path)) if path else (socket.AF_INET, ("127.0.0.1", 0))
        self._socket = socket.socket(family)
        self._socket.bind(where)
        self._socket.listen()
        self._silent = silent
        self.ended = threading.Event()
        port = None if path else self._socket.getsockname()[1]
        self.address = Address("" if path else "127.0.0.1", port, str(path or ""))

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            while data := connection.recv(65536):
                if not self._silent:
                    connection.sendall(data)
        self.ended.set()


class TransportContract:
    """Commands run as they were written, and tell how they ended; sockets lead to the node's."""

    short_seconds = 2
    """Time enough to get there and to begin."""

    def test_is_a_transport(self, transport: Transport) -> None:
        assert isinstance(transport, Transport)

    def test_tells_what_a_command_wrote_and_how_it_ended(self, transport: Transport) -> None:
        argv = ["sh", "-c", "echo out; echo err >&2; exit 3"]
        done = transport.run(argv, deadline=soon())
        assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")

    def test_no_status_has_another_meaning(self, transport: Transport) -> None:
        statuses = [0, 124, 127, 137, 255]
        commands = [["sh", "-c", f"exit {status}"] for status in statuses]
        done = [transport.run(argv, deadline=soon()) for argv in commands]
        assert [each.status for each in done] == statuses

    def test_a_command_that_a_signal_ends(self, transport: Transport) -> None:
        assert transport.run(["sh", "-c", "kill -9 $$"], deadline=soon()).status == 128 + 9

    def test_arguments_arrive_as_they_are(self, transport: Transport) -> None:
        raw = [
            *(bytes([byte]) for byte in range(1, 256)),
            EVERY_BYTE[1:] + b"\n\n",
            b"",
            b" a  'b' \"c\" ",
            b"$HOME `id` $(id) \\n %s %% !! ~ * ; & | < > #",
            b"_",
            b"-n",
            "é\u2028".encode(),
        ]
        argv = [sys.executable, "-c", TELL, *map(os.fsdecode, raw)]
        assert transport.run(argv, deadline=soon()).stdout.split(b"\0") == raw

    def test_stdin_and_stdout_are_bytes(self, transport: Transport) -> None:
        data = EVERY_BYTE * 8192
        done = transport.run(["cat"], stdin=data, deadline=soon())
        assert done.stdout == data

    def test_without_stdin_a_command_reads_nothing(self, transport: Transport) -> None:
        assert transport.run(["cat"], deadline=soon()).stdout == b""

    def test_stdin_may_be_left_unread(self, transport: Transport) -> None:
        done = transport.run(["echo", "done"], stdin=EVERY_BYTE * 8192, deadline=soon())
        assert (done.status, done.stdout) == (0, b"done\n")

    def test_a_command_that_is_not_there(self, transport: Transport) -> None:
        with pytest.raises(CommandError, match="node web1: cachekit-no-such cannot be run"):
            transport.run(["cachekit-no-such"], deadline=soon())

    def test_the_deadline_ends_a_command_and_all_it_started(
        self, transport: Transport, tmp_path: Path
    ) -> None:
        pids = tmp_path / "pids"
        argv = ["sh", "-c", f"sleep 70 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"]
        message = f"node web1: sh was ended: not done within {self.short_seconds} s"
        with pytest.raises(CommandError, match=message):
            transport.run(argv, deadline=Deadline(self.short_seconds))
        shell, child = map(int, pids.read_text().split())
        assert wait_until(lambda: not is_running(shell) and not is_running(child))

    def test_many_at_once(self, transport: Transport) -> None:
        with ThreadPoolExecutor(16) as pool:
            runs = [
                pool.submit(transport.run, ["echo", str(number)], deadline=soon())
                for number in range(16)
            ]
        assert [run.result().stdout for run in runs] == [b"%d\n" % n for n in range(16)]

    @pytest.mark.parametrize("kind", ["port", "path"])
    def test_dials_what_listens_there(
        self, transport: Transport, kind: str, tmp_path: Path
    ) -> None:
        data = EVERY_BYTE * 512
        with Listener(tmp_path / "s" if kind == "path" else None) as listener:
            with closing(transport.dial(listener.address, deadline=soon())) as connection:
                assert 0 < (connection.gettimeout() or 0) <= 60
                for _ in range(3):
                    connection.sendall(data)
                    assert received(connection, len(data)) == data
                assert not listener.ended.is_set()
            assert listener.ended.wait(20)

    def test_an_end_is_an_end(self, transport: Transport) -> None:
        with (
            Listener() as listener,
            closing(transport.dial(listener.address, deadline=soon())) as connection,
        ):
            connection.sendall(b"last")
            connection.shutdown(socket.SHUT_WR)
            assert received(connection, 4) == b"last"
            assert connection.recv(1) == b""
            assert connection.recv_into(bytearray(1)) == 0

    @pytest.mark.parametrize("kind", ["port", "path"])
    def test_nothing_listens_there(self, transport: Transport, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "nobody"
        address = (
            Address(unix_path=str(path)) if kind == "path" else Address("127.0.0.1", free_port())
        )
        with pytest.raises(UnreachableError, match=f"node web1: .*{address}.*running"):
            ask(transport, address)

    def test_silence_ends_with_the_deadline(self, transport: Transport) -> None:
        with Listener(silent=True) as listener:
            connection = transport.dial(listener.address, deadline=soon())
            connection.settimeout(0.2)
            with closing(connection), pytest.raises(TimeoutError):
                connection.recv(1)


def received(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (chunk := connection.recv(size - len(data))):
        data += chunk
    return bytes(data)


def ask(transport: Transport, address: Address) -> bytes:
    with closing(transport.dial(address, deadline=soon())) as connection:
        connection.sendall(b"?")
        return connection.recv(1)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestLocal(TransportContract):
    @pytest.fixture
    def transport(self) -> Transport:
        return Local("web1")

    def test_what_left_its_group_holds_nobody_up(self, tmp_path: Path) -> None:
        late = tmp_path / "late"
        apart = f"setsid sh -c 'sleep 60; touch {late}' & echo $! > {tmp_path}/pid; sleep 70"
        with pytest.raises(CommandError, match="was ended"):
            Local("web1").run(["sh", "-c", apart], deadline=Deadline(self.short_seconds))
        os.killpg(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        assert not late.exists()

    def test_a_deadline_that_is_over_leaves_no_pipes(self) -> None:
        class OverOnceItEnded(Deadline):
            def remaining(self, at_most: float | None = None) -> float:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
                return super().remaining(at_most)

        with pytest.raises(CommandError, match="was ended"):
            Local("web1").run(["true"], deadline=OverOnceItEnded(0))
        gc.collect()  # what is left open warns, and warnings fail the test


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    client = SshClient(tmp_path_factory.mktemp("ssh"))
    with pytest.MonkeyPatch.context() as patch, Sshd(client=client, host="127.0.0.2") as server:
        patch.setenv(*client.setting)
        yield server
        close_masters()


class TestSsh(TransportContract):
    short_seconds = 8

    @pytest.fixture
    def transport(self, sshd: Sshd) -> Transport:
        return Ssh("web1", sshd.name)


class TestSshWithoutMasters(TestSsh):
    @pytest.fixture(autouse=True)
    def no_masters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cachekit.transports.ssh.transport.control_path", lambda _: None)
