"""Certificates for tests: good, expired, unknown and for clients, from a throw-away authority."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme


class Certificate(NamedTuple):
    """The files of a certificate chain and its private key, both PEM."""

    cert_file: Path
    key_file: Path


class Authority:
    """A certificate authority whose files live in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self._ca = trustme.CA()
        self._issued = 0
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def certificate(self, *names: str) -> Certificate:
        """Issue a good certificate for these names, and for nothing else (no address)."""
        return self._write(self._ca.issue_cert(*names))

    def expired(self, *names: str) -> Certificate:
        """Issue a certificate that ended yesterday."""
        now = datetime.now(UTC)
        return self._write(
            self._ca.issue_cert(
                *names, not_before=now - timedelta(days=30), not_after=now - timedelta(days=1)
            )
        )

    def unknown(self, *names: str) -> Certificate:
        """Issue a certificate from another authority, which nobody trusts."""
        return self._write(trustme.CA().issue_cert(*names))

    def client(self, name: str = "cachekit@client.example") -> Certificate:
        """Issue a certificate with which a client shows who it is."""
        return self._write(self._ca.issue_cert(name))

    def _write(self, issued: trustme.LeafCert) -> Certificate:
        self._issued += 1
        pair = Certificate(
            self.directory / f"{self._issued}-cert.pem", self.directory / f"{self._issued}-key.pem"
        )
        pair.cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        pair.key_file.write_bytes(issued.private_key_pem.bytes())
        return pair
