"""Certificates as a user asks for them: how to trust the platform's root."""

from __future__ import annotations

from pathlib import Path

from autogit.errors import CertificateError
from autogit.operations.project import Project
from autogit.providers.ssl.trust import install_root, trust_instructions


def trust(project: Project, *, install: bool) -> tuple[Path, tuple[str, ...]]:
    """Return the root's file and what to do with it, or what was done. Raises CertificateError."""
    domain = project.settings.base_domain
    root = project.certificates.root_path(domain)
    if not root.is_file():
        raise CertificateError(f"there is no root certificate for {domain} yet", hint="autogit up makes it")
    return root, install_root(root, domain) if install else trust_instructions(root, domain)
