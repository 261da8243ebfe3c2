"""The secret store: one age-encrypted file, and the identity that opens it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pyrage

from autogit.errors import SecretStoreError
from autogit.providers.host.atomic import write_atomic

IDENTITY_VARIABLE = "AUTOGIT_IDENTITY_FILE"
_SCHEMA = 1


class SecretStore:
    """Secrets by name, encrypted for one age identity (X25519; https://age-encryption.org/v1).

    The identity lies outside the project, at ~/.config/autogit/identity.txt or where AUTOGIT_IDENTITY_FILE says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def identity_path(self) -> Path:
        """Return where the identity is, or would be."""
        named = os.environ.get(IDENTITY_VARIABLE)
        return Path(named).absolute() if named else Path.home() / ".config" / "autogit" / "identity.txt"

    def ensure_identity(self) -> bool:
        """Make an identity where there is none; tell whether one was made.

        Raises SecretStoreError where a store exists that a new identity could not open.
        """
        path = self.identity_path()
        if path.exists():
            self._identity()
            return False
        if self.path.exists():
            raise self._identity_missing()
        identity = pyrage.x25519.Identity.generate()
        head = "# AutoGit secrets identity. Keep a copy: without it the secrets are lost.\n"
        text = f"{head}# public key: {identity.to_public()}\n{identity}\n"
        write_atomic(path, text.encode(), 0o600)
        return True

    def load(self) -> dict[str, str]:
        """Return every secret by name; nothing where there is no store. Raises SecretStoreError."""
        if not self.path.exists():
            return {}
        try:
            plain = pyrage.decrypt(self.path.read_bytes(), [self._identity()])
        except pyrage.DecryptError as exc:
            raise SecretStoreError(
                f"{self.path.name} cannot be opened with {self.identity_path()}: it is damaged or was encrypted for "
                "another identity",
                hint=f"bring the right identity back, or set {IDENTITY_VARIABLE}; nothing was changed",
            ) from exc
        except OSError as exc:
            raise SecretStoreError(
                f"{self.path.name} cannot be read: {exc.strerror}", hint="mend its permissions"
            ) from exc
        return self._parse(plain)

    def save(self, secrets: Mapping[str, str]) -> None:
        """Replace the store atomically. Raises SecretStoreError and StorageFullError."""
        body = json.dumps({"schema": _SCHEMA, "secrets": dict(sorted(secrets.items()))}).encode()
        write_atomic(self.path, pyrage.encrypt(body, [self._identity().to_public()]), 0o600)

    def fingerprint(self, value: str) -> str:
        """Return a keyed digest (HMAC-SHA256, 16 hex digits): equal values show as equal, and nothing else shows."""
        key = hashlib.sha256(b"autogit fingerprint" + str(self._identity()).encode()).digest()
        return hmac.new(key, value.encode(), "sha256").hexdigest()[:16]

    def _parse(self, plain: bytes) -> dict[str, str]:
        try:
            body = json.loads(plain)
            if body["schema"] > _SCHEMA:
                raise SecretStoreError(f"{self.path.name} was written by a newer AutoGit", hint="upgrade AutoGit")
            return {str(name): str(value) for name, value in body["secrets"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise SecretStoreError(
                f"{self.path.name} holds something else than secrets", hint="restore a backup"
            ) from exc

    def _identity(self) -> pyrage.x25519.Identity:
        path = self.identity_path()
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as exc:
            raise self._identity_missing() from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise SecretStoreError(f"the secrets identity {path} cannot be read", hint="mend its permissions") from exc
        if mode & 0o077:
            raise SecretStoreError(f"the secrets identity {path} can be read by others", hint=f"chmod 600 {path}")
        for line in lines:
            if line.startswith("AGE-SECRET-KEY-"):
                try:
                    return pyrage.x25519.Identity.from_str(line.strip())
                except pyrage.IdentityError:
                    break
        raise SecretStoreError(f"{path} holds no age identity", hint="bring the right file back from your copy")

    def _identity_missing(self) -> SecretStoreError:
        return SecretStoreError(
            f"the secrets identity {self.identity_path()} is missing: without it {self.path.name} cannot be opened",
            hint=f"bring it back from your copy, or set {IDENTITY_VARIABLE} to where it is; nothing was changed",
        )
