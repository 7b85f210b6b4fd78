"""Commands over ssh, on networks as they are: keys, hosts, shells and links that fail."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cachekit.deadline import Deadline
from cachekit.errors import UnreachableError
from cachekit.transports.base import Completed
from cachekit.transports.ssh import Ssh, close_masters
from cachekit.transports.ssh.masters import control_path, socket_folder
from tests.servers.process import free_port, wait_until
from tests.servers.sshd import SshClient, Sshd, make_key, processes_with

pytestmark = pytest.mark.server

StartNode = Callable[..., Sshd]


def run(name: str, command: str = "echo word", seconds: float = 60) -> Completed:
    """Run a line of shell on a node; the seconds are for what must succeed on a busy machine."""
    return Ssh(name, name).run(["sh", "-c", command], deadline=Deadline(seconds))


def side_by_side(names: list[str], **options: Any) -> list[Future[Completed]]:
    with ThreadPoolExecutor(len(names)) as pool:
        return [pool.submit(run, name, **options) for name in names]


def words(runs: list[Future[Completed]]) -> list[bytes]:
    return [each.result().stdout for each in runs]


# Which nodes


def test_each_command_runs_on_its_node(ssh_node: StartNode) -> None:
    nodes = [ssh_node(), ssh_node()]
    runs = side_by_side([each.name for each in nodes], command="echo $SSH_CONNECTION")
    assert [told.split()[2:] for told in words(runs)] == [
        [each.host.encode(), b"%d" % each.port] for each in nodes
    ]


def test_nodes_that_are_down_do_not_stop_the_others(ssh_node: StartNode) -> None:
    up, down, silent = ssh_node(), ssh_node(), ssh_node()
    down.kill()
    silent.pause()
    with ThreadPoolExecutor(3) as pool:
        good, refused = pool.submit(run, up.name), pool.submit(run, down.name)
        timed_out = pool.submit(run, silent.name, seconds=4)
    silent.resume()
    assert good.result().stdout == b"word\n"
    with pytest.raises(UnreachableError, match=f"node {down.name}: ssh: .*Connection refused"):
        refused.result()
    with pytest.raises(UnreachableError, match=f"node {silent.name}: .*(timed out|no login)"):
        timed_out.result()


def test_forty_at_once(ssh_client: SshClient, ssh_node: StartNode) -> None:
    # One sshd for all of them, which turns away most of what goes beyond ten at once.
    server, names = ssh_node(), [f"node{number}" for number in range(40)]
    for name in names:
        ssh_client.add(name, server.host, server.port)
    assert words(side_by_side(names)) == [b"word\n"] * 40


def test_few_at_once_through_a_jump_host(ssh_client: SshClient, ssh_node: StartNode) -> None:
    bastion = ssh_node(name="bastion", directives=("MaxStartups 8:100:8",))
    server, names = ssh_node(), [f"inner{number}" for number in range(14)]
    for name in names:
        ssh_client.add(name, server.host, server.port, "ProxyJump bastion")
    assert words(side_by_side(names)) == [b"word\n"] * 14
    log = bastion.log_tail(10_000)
    assert log.count("Accepted publickey") == 14
    assert "MaxStartups" not in log


def test_a_jump_host_that_is_down_is_named(ssh_client: SshClient, ssh_node: StartNode) -> None:
    ssh_client.add("bastion", "127.0.0.1", free_port())
    server = ssh_node(client_lines=("ProxyJump bastion",))
    with pytest.raises(UnreachableError, match=r"host 127\.0\.0\.1 .* refused; is sshd"):
        run(server.name)


# Who may log in


def test_a_key_that_is_not_accepted(ssh_node: StartNode) -> None:
    server = ssh_node(authorized=False)
    with pytest.raises(UnreachableError, match=r"Permission denied \(publickey\); does `ssh web2`"):
        run(server.name)


def test_a_host_key_that_is_not_known(ssh_client: SshClient, ssh_node: StartNode) -> None:
    server = ssh_node(known=False)
    with pytest.raises(UnreachableError, match=r"No .* host key is known.* compare the finger"):
        run(server.name)
    assert ssh_client.known_hosts.read_text() == ""


def test_a_host_key_that_is_another_one(
    ssh_client: SshClient, ssh_node: StartNode, tmp_path: Path
) -> None:
    server = ssh_node(known=False)
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    ssh_client.trust(server.host, server.port, other)
    with pytest.raises(UnreachableError, match=r"IDENTIFICATION HAS CHANGED.*; .*find out why"):
        run(server.name)


def test_a_name_that_nobody_knows(ssh_client: SshClient) -> None:
    ssh_client.add("web1", "no-such-host.invalid", 22)
    with pytest.raises(UnreachableError, match=r"Could not resolve hostname .*; correct `ssh:`"):
        run("web1")


def test_a_configuration_with_a_mistake(ssh_client: SshClient) -> None:
    ssh_client.add("web1", "127.0.0.1", 22, "BatchMood yes")
    with pytest.raises(UnreachableError, match=r"node web1: ssh: .*[Bb]ad configuration"):
        run("web1")


def test_ssh_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match=r"node web1: ssh cannot be run here: .*install"):
        run("web1")


# What listens there


def test_accepted_and_silent(ssh_client: SshClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ssh_client.add("web1", *silent.getsockname())
        with pytest.raises(UnreachableError, match=r"node web1: .*(timed out|no login within 3 s)"):
            run("web1", seconds=3)


def test_turned_away_again_and_again(ssh_client: SshClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[int] = []

        def turn_away() -> None:
            while True:
                connection, _ = listener.accept()
                connection.close()
                accepted.append(1)

        threading.Thread(target=_until_closed, args=(turn_away,), daemon=True).start()
        ssh_client.add("web1", *listener.getsockname())
        with pytest.raises(UnreachableError, match=r"node web1: ssh: .*Connection (closed|reset)"):
            run("web1", seconds=6)
        listener.shutdown(socket.SHUT_RDWR)
    assert 1 < len(accepted) < 8


def _until_closed(act: Callable[[], None]) -> None:
    try:
        act()
    except OSError:
        return


# What the node does with a command


def test_noise_is_no_part_of_the_answer(ssh_node: StartNode, tmp_path: Path) -> None:
    banner = tmp_path / "banner"
    banner.write_text("Authorized use only\n")
    noisy = 'echo welcome; printf half; echo oh >&2; eval "$SSH_ORIGINAL_COMMAND"; echo bye'
    server = ssh_node(directives=(f"Banner {banner}", f"ForceCommand {noisy}"))
    done = run(server.name, "cat; echo real >&2; exit 4")
    assert (done.status, done.stdout) == (4, b"")
    assert done.stderr.endswith(b"real\n")
    assert b"Authorized" not in done.stderr


def test_an_account_without_a_shell(ssh_node: StartNode) -> None:
    server = ssh_node(directives=("ForceCommand echo This account is not available.; exit 1",))
    with pytest.raises(UnreachableError, match=r"account is not available.*needs an ordinary sh"):
        run(server.name)


def test_killed_in_mid_call(ssh_node: StartNode, tmp_path: Path) -> None:
    server, started = ssh_node(), tmp_path / "started"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(run, server.name, f"touch {started}; sleep 90")
        assert wait_until(started.exists, 30)
        server.kill_sessions()
        with pytest.raises(UnreachableError, match="cannot be known whether sh ended there"):
            call.result()


def test_frozen_in_mid_call(ssh_node: StartNode, tmp_path: Path) -> None:
    server, started = ssh_node(), tmp_path / "started"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(run, server.name, f"touch {started}; sleep 90", 8)
        assert wait_until(started.exists, 30)
        for pid in server.sessions():
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(
            UnreachableError, match="no answer: not done within 8 s; it cannot be known whe"
        ):
            call.result()


def test_one_session_for_each_connection(ssh_node: StartNode) -> None:
    # What the shared connection has no room for goes through one of its own.
    server = ssh_node(directives=("MaxSessions 1",))
    runs = side_by_side([server.name] * 4, command="sleep 1; echo word")
    assert words(runs) == [b"word\n"] * 4


def test_what_is_set_for_the_terminal_does_no_harm(ssh_node: StartNode) -> None:
    lines = (
        "RemoteCommand tmux",
        "RequestTTY force",
        "ControlMaster yes",
        f"ControlPath {'/long' * 40}",
        "LogLevel QUIET",
    )
    assert run(ssh_node(client_lines=lines).name).stdout == b"word\n"


# What is left behind


def test_calls_share_a_connection_and_it_is_closed(ssh_node: StartNode) -> None:
    server = ssh_node()
    for _ in range(3):
        run(server.name)
    assert server.log_tail(1000).count("Accepted publickey") == 1
    control, folder = control_path(server.name), socket_folder()
    assert control is not None
    assert folder is not None
    assert control.is_socket()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert processes_with(str(folder))
    close_masters()
    assert not folder.exists()
    assert wait_until(lambda: not processes_with(str(folder)))
    assert wait_until(lambda: not server.sessions())


def test_a_shared_connection_that_broke_is_replaced(ssh_node: StartNode) -> None:
    server = ssh_node()
    run(server.name)
    server.kill_sessions()
    assert run(server.name).stdout == b"word\n"


def test_a_deadline_leaves_the_shared_connection_to_others(
    ssh_node: StartNode, tmp_path: Path
) -> None:
    server, started = ssh_node(), tmp_path / "started"
    with ThreadPoolExecutor(1) as pool:
        # The first call opens the connection, and is ended by force.
        first = pool.submit(run, server.name, f"touch {started}; trap '' TERM; sleep 90", 5)
        assert wait_until(started.exists, 30)
        assert run(server.name, "sleep 6; echo word").stdout == b"word\n"
        assert isinstance(first.exception(), Exception)


def test_a_folder_that_was_removed_is_made_anew(ssh_node: StartNode) -> None:
    server = ssh_node()
    close_masters()
    folder = socket_folder()
    assert folder is not None
    folder.rmdir()
    assert run(server.name).stdout == b"word\n"


def test_a_long_temporary_folder(
    ssh_node: StartNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    close_masters()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    server = ssh_node()
    run(server.name)
    control = control_path(server.name)
    assert control is not None
    assert control.is_socket()
    assert not list(long.glob("ck-ssh-*"))
