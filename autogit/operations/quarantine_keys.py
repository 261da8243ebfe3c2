"""The quarantine's keys: the public recipient for whoever writes, the project's identity for whoever reads."""

from __future__ import annotations

from pathlib import Path

import pyrage

from autogit.errors import SecretStoreError
from autogit.model.project import ProjectPaths
from autogit.providers.host.atomic import write_atomic
from autogit.providers.host.secret_store import IDENTITY_VARIABLE, SecretStore
from autogit.security.quarantine_sealing import RECIPIENT_FILE


class ProjectIdentity(SecretStore):
    """The project's age identity, as the quarantine uses it."""

    def recipient(self) -> str:
        """Return its public key. Raises SecretStoreError."""
        return str(self._identity().to_public())

    def decrypt(self, sealed: bytes) -> bytes:
        """Return what was sealed for it. Raises SecretStoreError."""
        try:
            return bytes(pyrage.decrypt(sealed, [self._identity()]))
        except pyrage.DecryptError as exc:
            raise SecretStoreError(
                f"the text cannot be opened with {self.identity_path()}: it is damaged or was sealed for another "
                "identity",
                hint=f"bring the right identity back, or set {IDENTITY_VARIABLE}; nothing was changed",
            ) from exc

    def _identity_missing(self) -> SecretStoreError:
        return SecretStoreError(
            f"the identity {self.identity_path()} is missing: without it quarantined texts cannot be opened",
            hint=f"bring it back from your copy, or set {IDENTITY_VARIABLE} to where it is; nothing was changed",
        )


def project_identity(paths: ProjectPaths) -> ProjectIdentity:
    """Return the identity of a project; it is read when it is used."""
    return ProjectIdentity(paths.secrets_store)


def ensure_recipient(paths: ProjectPaths) -> Path:
    """Write the public key that quarantined texts are sealed for, where it is not there or is a former one's.

    Makes an identity where there is none and no secret store needs one. Raises SecretStoreError and StorageFullError.
    """
    identity, path = project_identity(paths), paths.quarantine / RECIPIENT_FILE
    identity.ensure_identity()
    wanted = f"{identity.recipient()}\n".encode()
    if not path.is_file() or path.read_bytes() != wanted:
        write_atomic(path, wanted, 0o600)
    return path
