"""Deploy hooks: what takes a new certificate to those who use it besides the ingress."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autogit.model.resource import Address, digest
from autogit.model.spec import CertificateSpec

CERT_HOOK = "cert_hook"
"""The kind of resource that a hook is."""
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class DeployHook:
    """One command (an argument list) for one version of a certificate.

    It is run once the ingress serves that version for all `hosts` at `address` and `port` (0: no ingress runs).
    """

    words: tuple[str, ...]
    certificate: CertificateSpec
    hosts: tuple[str, ...]
    address: str
    port: int


def hook_address(words: tuple[str, ...]) -> Address:
    """Return the address of a command: its program's name, and a digest that tells it from others of that program."""
    program = re.sub(r"[^A-Za-z0-9._-]", "_", words[0].rpartition("/")[2]) or "hook"
    return Address(CERT_HOOK, f"{program}-{command_digest(words)}")


def command_digest(words: tuple[str, ...]) -> str:
    """Return a short digest of a command."""
    return digest(list(words))[:_DIGITS]
