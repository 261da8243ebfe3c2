"""Secrets as resources: given in `.env` or generated once, stored encrypted, written out only where one is read."""

from __future__ import annotations

import asyncio
import re
import secrets as randomness
import stat
import string
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import bcrypt
from pydantic import SecretStr

from autogit.errors import AutogitError, RejectedError
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Address, Resource, Value
from autogit.model.settings import LONGEST_PASSWORD_BYTES
from autogit.model.spec import SecretSpec
from autogit.providers.base import HealthStatus, ProviderContext, Reconciler, Scope
from autogit.providers.host.atomic import write_atomic
from autogit.providers.host.secret_store import SecretStore

_ALPHABET = string.ascii_letters + string.digits
_BCRYPT_COST = 10


class Secrets(Reconciler):
    """Keeps `secret/<NAME>`. A generated value is never made anew while the store has one."""

    provider_type: ClassVar[str] = "host"
    provider_name: ClassVar[str] = "secrets"
    kinds: ClassVar[tuple[str, ...]] = ("secret",)

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.store = SecretStore(context.paths.secrets_store)
        self._lock = threading.Lock()

    async def health(self) -> HealthStatus:
        """Tell whether the store opens."""
        try:
            return HealthStatus(ok=True, detail=f"{len(self.store.load())} secrets")
        except AutogitError as exc:
            return HealthStatus(ok=False, detail=exc.message)

    def load(self) -> dict[str, str]:
        """Return every secret by name. Raises SecretStoreError."""
        return self.store.load()

    def list_names(self) -> tuple[str, ...]:
        """Return the names of all stored secrets, sorted."""
        return tuple(sorted(self.store.load()))

    def reveal(self, name: str) -> str:
        """Return one secret. Raises RejectedError where there is none of that name."""
        stored = self.store.load()
        if name not in stored:
            raise RejectedError(f"secrets: there is no secret called {name}", hint="autogit secrets list")
        return stored[name]

    def fingerprints(self, given: Mapping[str, SecretStr]) -> Mapping[str, str]:
        """Return the keyed digest of each secret's wanted value: what `.env` gives, else what is stored.

        Nothing where there is no identity yet. Raises SecretStoreError.
        """
        stored = self.store.load()
        if not self.store.identity_path().exists():
            return {}
        wanted = stored | {name: value.get_secret_value() for name, value in given.items()}
        return {name: self.store.fingerprint(value) for name, value in wanted.items()}

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return what is stored; `file` reads missing, open or differs where the written form is not as it must be."""
        stored = await asyncio.to_thread(self.store.load)
        addresses = sorted(a for a in {*scope.desired, *scope.owned} if a.name in stored)
        return [await asyncio.to_thread(self._look, a, scope, stored[a.name]) for a in addresses]

    def _look(self, address: Address, scope: Scope, value: str) -> Resource:
        wish, entry = scope.desired.get(address), scope.owned.get(address)
        known = entry.attributes if entry else wish.attributes if wish else {}
        file = known.get("file", "")
        if wish is not None and isinstance(wish.payload, SecretSpec) and file == wish.payload.file:
            file = _file_state(wish.payload, value)
        seen = {"source": known.get("source"), "version": known.get("version"), "file": file}
        return Resource(address, {**seen, "fingerprint": self.store.fingerprint(value)})

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Store each secret and write its file; the read-modify-write of the store is one at a time."""
        for change in changes:
            try:
                attributes = await asyncio.to_thread(self._carry_out, change)
            except AutogitError as exc:
                yield Outcome(change.address, change.action, ok=False, error=exc)
            else:
                yield Outcome(change.address, change.action, ok=True, attributes=attributes)

    def _carry_out(self, change: Change) -> dict[str, Value]:
        if change.action is Action.DELETE or change.after is None:
            return self._delete(change)
        spec = change.after.payload
        with self._lock:
            self.store.ensure_identity()
            stored = self.store.load()
            value = spec.given if spec.given is not None else stored.get(spec.name) or _generate(spec.length)
            _check(spec, value)
            if stored.get(spec.name) != value:
                self.store.save({**stored, spec.name: value})
        _write_file(spec, value)
        _remove_old_files(spec)
        return {**change.after.attributes, "fingerprint": self.store.fingerprint(value)}

    def _delete(self, change: Change) -> dict[str, Value]:
        file = change.before.attributes.get("file") if change.before else None
        if file:
            Path(str(file)).unlink(missing_ok=True)
        with self._lock:
            stored = self.store.load()
            if stored.pop(change.address.name, None) is not None:
                self.store.save(stored)
        return {}


def _generate(length: int) -> str:
    return "".join(randomness.choice(_ALPHABET) for _ in range(length))


def _check(spec: SecretSpec, value: str) -> None:
    if spec.htpasswd_user and len(value.encode()) > LONGEST_PASSWORD_BYTES:
        raise RejectedError(
            f"secrets: {spec.name} is longer than {LONGEST_PASSWORD_BYTES} bytes, the most that bcrypt takes",
            hint="choose a shorter password",
        )


def _write_file(spec: SecretSpec, value: str) -> None:
    if not spec.file or _file_state(spec, value) == spec.file:
        return
    text = value
    if spec.htpasswd_user:
        text = f"{spec.htpasswd_user}:{bcrypt.hashpw(value.encode(), bcrypt.gensalt(_BCRYPT_COST)).decode()}\n"
    write_atomic(Path(spec.file), text.encode(), spec.mode)
    if spec.mode & 0o044:
        Path(spec.file).parent.chmod(0o755)  # a container is given it; the folder around it is its owner's alone


def _remove_old_files(spec: SecretSpec) -> None:
    """Keep this version's file and the one before it, which a failed change may go back to."""
    pattern = re.compile(rf"{re.escape(spec.name)}\.v(\d+)(\.htpasswd)?")
    for path in Path(spec.file).parent.iterdir() if spec.file else ():
        match = pattern.fullmatch(path.name)
        if match and int(match[1]) < spec.version - 1:
            path.unlink(missing_ok=True)


def _file_state(spec: SecretSpec, value: str) -> str:
    """Return the file's path where it is right, else what is wrong with it."""
    if not spec.file:
        return ""
    path = Path(spec.file)
    try:
        text = path.read_text(encoding="utf-8")
        if stat.S_IMODE(path.stat().st_mode) != spec.mode:
            return "open to others"
    except FileNotFoundError:
        return "missing"
    except (OSError, UnicodeDecodeError):
        return "unreadable"
    if not spec.htpasswd_user:
        return spec.file if text == value else "differs"
    user, _, hashed = text.strip().partition(":")
    try:
        fits = user == spec.htpasswd_user and bcrypt.checkpw(value.encode(), hashed.encode())
    except ValueError:
        fits = False
    return spec.file if fits else "differs"
