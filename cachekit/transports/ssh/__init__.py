"""Commands and sockets of a node over the system's OpenSSH."""

from cachekit.transports.ssh.masters import close_masters
from cachekit.transports.ssh.transport import Ssh

__all__ = ["Ssh", "close_masters"]
