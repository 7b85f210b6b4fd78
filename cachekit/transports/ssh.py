"""Placeholder so that others can import; the ssh helper replaces this file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ssh:
    node: str
    destination: str
