"""What OpenSSH says, as it was seen, and what it means."""

import pytest

from cachekit.model import Address
from cachekit.transports.ssh.failures import dial_failure, failure_of

ADDRESS = Address("127.0.0.1", 11211)

SAID = {
    "refused": (
        b"ssh: connect to host 127.0.0.2 port 2222: Connection refused\r\n",
        "ssh: connect to host 127.0.0.2 port 2222: Connection refused; is sshd running there",
    ),
    "unknown host key": (
        b"No ED25519 host key is known for [127.0.0.2]:2222 and you have requested strict"
        b" checking.\r\nHost key verification failed.\r\n",
        "ssh: No ED25519 host key is known for [127.0.0.2]:2222 and you have requested strict"
        " checking; log in by hand once",
    ),
    "changed host key": (
        b"@@@@@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n@@@@@\r\n"
        b"Host key verification failed.\r\n",
        "ssh: WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!; its key is not the known one",
    ),
    "jump host refused": (
        b"channel 0: open failed: connect failed: Connection refused\r\n"
        b"stdio forwarding failed\r\n"
        b"kex_exchange_identification: Connection closed by remote host\r\n"
        b"Connection closed by UNKNOWN port 65535\r\n",
        "ssh: channel 0: open failed: connect failed: Connection refused; is sshd running",
    ),
    "jump host forbids": (
        b"channel 0: open failed: administratively prohibited: open failed\r\n"
        b"stdio forwarding failed\r\n"
        b"kex_exchange_identification: Connection closed by remote host\r\n",
        "ssh: channel 0: open failed: administratively prohibited: open failed; sshd may forbid",
    ),
    "silence": (
        b"Connection timed out during banner exchange\r\n"
        b"Connection to 127.0.0.1 port 2222 timed out\r\n",
        "ssh: Connection timed out during banner exchange; is it up",
    ),
    "no configuration": (
        b"Can't open user config file /etc/deploy/ssh: No such file or directory\r\n",
        "ssh: Can't open user config file /etc/deploy/ssh: No such file or directory; correct CAC",
    ),
    "something new": (b"\x1b[31mFlux capacitor\x07\r\n", r"ssh: \x1b[31mFlux capacitor\x07; try"),
    "nothing": (b"", "ssh: silence; try `ssh web1`"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_lasts(name: str) -> None:
    said, reason = SAID[name]
    failure = failure_of(said, "web1")
    assert failure.reason.startswith(reason)
    assert not failure.passes


@pytest.mark.parametrize(
    "said",
    [
        b"kex_exchange_identification: Connection closed by remote host\r\n"
        b"Connection closed by 127.0.0.2 port 2222\r\n",
        b"kex_exchange_identification: read: Connection reset by peer\r\n"
        b"Connection reset by 127.0.0.2 port 2222\r\n",
        b"ssh_exchange_identification: Connection closed by remote host\r\n",
        b"mux_client_request_session: read from master failed: Broken pipe\r\n",
        b"Control master terminated unexpectedly\r\n",
        b"Authorized use only\r\nConnection reset by 10.0.0.2 port 22\r\n",
    ],
)
def test_what_passes(said: bytes) -> None:
    assert failure_of(said, "web1").passes


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        (b"", 0, None),
        (b"", None, None),
        (b"Warning: something\r\n", None, None),
        (b"", -9, "127.0.0.1:11211: ssh was ended by signal 9"),
        (
            b"channel 0: open failed: connect failed: Connection refused\r\n"
            b"stdio forwarding failed\r\n",
            255,
            "127.0.0.1:11211: Connection refused; is it running there?",
        ),
        (
            b"mux_client_request_stdio_fwd: session request failed: Session open refused by peer"
            b"\r\nstdio forwarding failed\r\n",
            255,
            "127.0.0.1:11211: not opened there; is it running",
        ),
        (
            b"Connection to 127.0.0.2 closed by remote host.\r\n",
            255,
            "127.0.0.1:11211: ssh: Connection to 127.0.0.2 closed by remote host",
        ),
    ],
)
def test_why_a_way_ended(said: bytes, status: int | None, reason: str | None) -> None:
    found = dial_failure(said, status, ADDRESS, "web1")
    assert found is None if reason is None else (found or "").startswith(reason)
