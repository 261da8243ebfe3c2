"""Deploy hooks: commands that take a certificate to others, run once it is served, and what each has delivered."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, ClassVar

from autogit.errors import AutogitError, CertificateError, RejectedError, UnavailableError
from autogit.model.cert_hooks import CERT_HOOK, DeployHook, command_digest
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Resource, Value
from autogit.model.text import printable
from autogit.providers.base import HealthStatus, Reconciler, Scope
from autogit.providers.host.atomic import write_atomic
from autogit.providers.ssl.served import served_certificate
from autogit.providers.ssl.store import CertificateStore, Stored

HOOK_SECONDS = 60.0
SERVED_SECONDS = 15.0
"""How long the ingress may take to serve what was put in force; the proof of an `up` waits as long."""
_POLL_SECONDS = 0.1
_INHERITED = ("PATH", "HOME", "LANG")
_MOST_SAID = 4096
_LEAST_KEY_LINE = 16


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a hook: the version it delivered last (0: none), and why its last run failed ("": it did not).

    `failed_version` is the one that it could not deliver then; moments are RFC 3339, UTC.
    """

    version: int = 0
    command: str = ""
    delivered_at: str = ""
    failure: str = ""
    failed_version: int = 0
    failed_at: str = ""


class CertHooks(Reconciler):
    """Runs `cert_hook/<program>-<digest>`: delivered where the record has that version and command.

    A run that is killed before it is recorded is repeated: a hook has to be harmless to repeat.
    """

    provider_type: ClassVar[str] = "ssl"
    provider_name: ClassVar[str] = "hooks"
    kinds: ClassVar[tuple[str, ...]] = (CERT_HOOK,)
    hook_seconds: float = HOOK_SECONDS
    served_seconds: float = SERVED_SECONDS

    @property
    def record_file(self) -> Path:
        """What was delivered, by the hook's name."""
        return self.context.paths.certs / "hooks.json"

    def deliveries(self) -> Mapping[str, Delivery]:
        """Return what became of each hook; what cannot be read is as if it had never been: it is run again."""
        try:
            raw = json.loads(self.record_file.read_text(encoding="utf-8"))
            return {str(name): Delivery(**row) for name, row in raw.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    async def health(self) -> HealthStatus:
        """Tell whether every hook has delivered what it was last asked to."""
        failed = [f"{name}: {one.failure}" for name, one in self.deliveries().items() if one.failure]
        if failed:
            return HealthStatus(ok=False, detail="; ".join(failed), fix="autogit certs renew runs them again")
        return HealthStatus(ok=True, detail="no hook has failed")

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return what each hook has delivered."""
        known = self.deliveries()
        return [
            Resource(address, {"version": one.version, "command": one.command})
            for address in sorted({*scope.desired, *scope.owned})
            if (one := known.get(address.name)) is not None and one.version
        ]

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Run one hook after the other; a delete forgets what it delivered."""
        for change in changes:
            try:
                attributes = await self._carry_out(change)
            except AutogitError as exc:
                yield Outcome(change.address, change.action, ok=False, error=exc)
            else:
                yield Outcome(change.address, change.action, ok=True, attributes=attributes)

    async def _carry_out(self, change: Change) -> dict[str, Value]:
        name = change.address.name
        if change.action is Action.DELETE or change.after is None:
            self._keep(name, None)
            return {}
        hook: DeployHook = change.after.payload
        version, command, now = hook.certificate.version, command_digest(hook.words), self._now()
        try:
            stored = await self._served(hook)
            self.context.progress(change.address, f"running {hook.words[0]}")
            await asyncio.to_thread(self._run, hook, stored)
        except AutogitError as exc:
            known = replace(self.deliveries().get(name, Delivery()), failure=exc.message)
            self._keep(name, replace(known, failed_version=version, failed_at=now))
            raise
        self._keep(name, Delivery(version, command, self._now()))
        return dict(change.after.attributes)

    async def _served(self, hook: DeployHook) -> Stored:
        """Return the version once it is served: what is put back again must have been taken to nobody."""
        wish = hook.certificate
        stored = CertificateStore(self.context.paths.certs).read(wish.name, wish.version)
        if stored.leaf is None or stored.damage:
            raise CertificateError(f"hooks: v{wish.version} of {wish.name} cannot be used: {stored.damage}")
        serial, deadline = f"{stored.leaf.serial_number:x}", time.monotonic() + self.served_seconds
        waiting = list(hook.hosts) if hook.port else []
        while waiting:
            found = await asyncio.to_thread(served_certificate, hook.address, hook.port, waiting[0])
            if found.serial == serial:
                waiting.pop(0)
            elif time.monotonic() >= deadline:
                raise CertificateError(
                    f"hooks: {hook.words[0]} was not run: v{wish.version} of {wish.name} is not served "
                    f"for {waiting[0]}: {found.error or f'{found.serial} is'}",
                    hint="autogit certs status; autogit certs renew runs it once it is served",
                )
            else:
                await asyncio.sleep(_POLL_SECONDS)
        return stored

    def _run(self, hook: DeployHook, stored: Stored) -> None:
        """Run the command; its output goes into a file, for a daemon that it starts may hold on to a pipe."""
        name, key_file = hook.words[0], Path(hook.certificate.key)
        with tempfile.TemporaryFile() as said:
            process = self._start(hook.words, {**_inherited(), **_told(hook, stored)}, said)
            try:
                code = process.wait(self.hook_seconds)
            except subprocess.TimeoutExpired as exc:
                raise UnavailableError(
                    f"hooks: {name} did not end within {self.hook_seconds:g} seconds, and was ended",
                    hint="what takes longer has to go on in the background: systemctl --no-block, systemd-run",
                    context=(f"{name}: {_last_line(said, key_file)}",),
                ) from exc
            finally:
                _end(process)
            if code:
                raise RejectedError(
                    f"hooks: {name} failed with {f'exit code {code}' if code > 0 else f'signal {-code}'}",
                    hint="mend it; autogit certs renew runs it again",
                    context=(f"{name}: {_last_line(said, key_file)}",),
                )

    def _start(self, words: Sequence[str], environment: Mapping[str, str], said: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                cwd=self.context.paths.root,
                start_new_session=True,
            )
        except OSError as exc:
            raise RejectedError(
                f"hooks: {words[0]} cannot be run: {exc.strerror}", hint="CERT_DEPLOY_HOOKS: is the path right?"
            ) from exc

    def _keep(self, name: str, delivery: Delivery | None) -> None:
        kept = {key: asdict(one) for key, one in self.deliveries().items() if key != name}
        if delivery is not None:
            kept[name] = asdict(delivery)
        write_atomic(self.record_file, json.dumps(kept, indent=1, sort_keys=True).encode(), 0o600)

    def _now(self) -> str:
        return self.context.clock().strftime("%Y-%m-%dT%H:%M:%SZ")


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _told(hook: DeployHook, stored: Stored) -> dict[str, str]:
    """Return what a hook is told; paths only, no key."""
    wish, leaf = hook.certificate, stored.chain[0]
    return {
        "AUTOGIT_CERT_NAME": wish.name,
        "AUTOGIT_CERT_NAMES": " ".join(wish.names),
        "AUTOGIT_CERT_SERIAL": f"{leaf.serial_number:x}",
        "AUTOGIT_CERT_NOT_AFTER": leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "AUTOGIT_CERT_FULLCHAIN": wish.fullchain,
        "AUTOGIT_CERT_KEY": wish.key,
        "AUTOGIT_CERT_FOLDER": str(Path(wish.fullchain).parent),
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that is still at work, and all that it started: it has a session of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(said: IO[bytes], key_file: Path) -> str:
    """Return the last line that was said, without what stands in the key's file."""
    said.seek(max(said.seek(0, os.SEEK_END) - _MOST_SAID, 0))
    lines = [line.strip() for line in said.read().decode("utf-8", "replace").split("\n")]
    last = next((line for line in reversed(lines) if line), "it said nothing")
    for line in _key_lines(key_file):
        last = last.replace(line, "(secret)")
    return printable(last)


def _key_lines(key_file: Path) -> list[str]:
    with suppress(OSError, UnicodeDecodeError):  # a hook may have taken it away
        lines = key_file.read_text(encoding="ascii").splitlines()
        return [line for line in lines if len(line) >= _LEAST_KEY_LINE and not line.startswith("-----")]
    return []
