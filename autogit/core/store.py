"""The lockfile on disk: read, checked, written atomically; each outcome recorded as it lands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from autogit import __version__
from autogit.core.plan import intent
from autogit.errors import LockfileCorruptError, LockfileTooNewError
from autogit.model.lockfile import SCHEMA_VERSION, LockEntry, Lockfile
from autogit.model.plan import Action, Change, Outcome
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Value, digest
from autogit.providers.base import Clock, utc_now
from autogit.providers.host.atomic import write_atomic

_HINT = "autogit doctor --repair-lockfile keeps the damaged file aside and goes back to the last good one"
_UNRECORDED = frozenset({"pid", "since", "health"})
"""What a provider reports and what changes without anybody's doing: not worth a line in version control."""


class LockfileStore:
    """Reads and writes one lockfile; `previous` is where the last good one of an earlier command is kept."""

    def __init__(self, path: Path, previous: Path) -> None:
        self.path = path
        self.previous = previous

    def load(self) -> Lockfile:
        """Return the lockfile, an empty one where there is none.

        Raises LockfileCorruptError (truncated, garbage, edited by hand) and LockfileTooNewError.
        """
        return self._read(self.path) if self.path.exists() else Lockfile()

    def save(self, lockfile: Lockfile) -> Lockfile:
        """Write the next serial atomically and return it. Raises StorageFullError; the former file stays intact."""
        following = replace(lockfile, serial=lockfile.serial + 1, autogit_version=__version__)
        write_atomic(self.path, dump_lockfile(following).encode(), 0o644)
        return following

    def keep_previous(self) -> None:
        """Copy the present good lockfile aside; called once at the start of a changing command."""
        if self.path.exists():
            write_atomic(self.previous, self.path.read_bytes(), 0o600)

    def repair(self) -> tuple[Path | None, Lockfile]:
        """Move a damaged lockfile aside and go back to the previous good one, else to an empty one.

        Returns where the damaged file is now (None: it was sound) and the lockfile in force.
        """
        try:
            return None, self.load()
        except LockfileCorruptError:
            aside = self._free_name()
            self.path.rename(aside)
        try:
            good = self._read(self.previous) if self.previous.exists() else Lockfile()
        except LockfileCorruptError:
            good = Lockfile()
        return aside, self.save(good)

    def _free_name(self) -> Path:
        taken = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{taken}")).exists():
            taken += 1
        return aside

    def _read(self, path: Path) -> Lockfile:
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as exc:
            raise LockfileCorruptError(
                f"{path.name} is not a lockfile: it is truncated or holds something else", hint=_HINT
            ) from exc
        return parse_lockfile(raw, path.name)


def lockfile_store(paths: ProjectPaths) -> LockfileStore:
    """Return the project's lockfile with the place where its last good one is kept."""
    return LockfileStore(paths.lockfile, paths.state / "lockfile.previous.json")


def dump_lockfile(lockfile: Lockfile) -> str:
    """Return the lockfile's text: sorted JSON that diffs well, with a digest over everything else."""
    body: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "autogit": lockfile.autogit_version,
        "project": lockfile.project,
        "serial": lockfile.serial,
        "settings": dict(lockfile.settings),
        "ports": dict(lockfile.ports),
        "last_apply": dict(lockfile.last_apply),
        **({"engine": dict(lockfile.engine)} if lockfile.engine else {}),
        **({"owner": lockfile.owner} if lockfile.owner else {}),
        "resources": {str(a): _dump_entry(e) for a, e in sorted(lockfile.entries.items())},
    }
    return json.dumps({**body, "digest": digest(body)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def parse_lockfile(raw: object, name: str = "autogit.lock.json") -> Lockfile:
    """Return the lockfile of parsed JSON. Raises LockfileCorruptError and LockfileTooNewError."""
    if not isinstance(raw, dict) or not isinstance(raw.get("schema"), int):
        raise LockfileCorruptError(f"{name} is not a lockfile: it has no schema number", hint=_HINT)
    if raw["schema"] > SCHEMA_VERSION:
        raise LockfileTooNewError(
            f"{name} has schema {raw['schema']}, this AutoGit {__version__} knows up to {SCHEMA_VERSION}",
            hint=f"upgrade AutoGit to {raw.get('autogit', 'a newer version')} or later; nothing was changed",
        )
    body = {k: v for k, v in raw.items() if k != "digest"}
    if raw.get("digest") != digest(body):
        raise LockfileCorruptError(f"{name} was changed by something other than AutoGit", hint=_HINT)
    try:
        return _parse_body(body)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise LockfileCorruptError(f"{name} is not a lockfile: a field is missing or wrong", hint=_HINT) from exc


def _parse_body(body: Mapping[str, Any]) -> Lockfile:
    return Lockfile(
        project=body["project"],
        autogit_version=body["autogit"],
        serial=body["serial"],
        settings=body["settings"],
        ports={k: int(v) for k, v in body["ports"].items()},
        last_apply=body["last_apply"],
        engine=body.get("engine", {}),
        owner=body.get("owner", ""),
        entries={a: _parse_entry(a, e) for text, e in body["resources"].items() for a in [Address.parse(text)]},
    )


def _dump_entry(entry: LockEntry) -> dict[str, Any]:
    dumped: dict[str, Any] = {"attributes": dict(entry.attributes), "applied_at": entry.applied_at}
    if entry.depends_on:
        dumped["depends_on"] = [str(a) for a in entry.depends_on]
    if entry.intended:
        dumped["intended"] = entry.intended
    return dumped


def _parse_entry(address: Address, raw: Mapping[str, Any]) -> LockEntry:
    return LockEntry(
        address,
        {k: _value(v) for k, v in raw["attributes"].items()},
        raw["applied_at"],
        tuple(Address.parse(text) for text in raw.get("depends_on", [])),
        raw.get("intended", ""),
    )


def _value(raw: Any) -> Value:
    return tuple(raw) if isinstance(raw, list) else raw  # a JSON scalar


class Recorder:
    """Keeps the lockfile true while a plan is applied: intents before, each outcome as it lands."""

    def __init__(self, store: LockfileStore, lockfile: Lockfile, clock: Clock = utc_now) -> None:
        self.store = store
        self.lockfile = lockfile
        self.clock = clock
        self.before = lockfile
        self._saved = lockfile
        self._serial = lockfile.serial
        self._writing = Lock()

    def begin(
        self, changes: Iterable[Change], *, ports: Mapping[str, int], engine: Mapping[str, str] | None = None
    ) -> None:
        """Write down what is about to be made, so that a killed run's remains are known to be ours."""
        entries = dict(self.lockfile.entries)
        for change in changes:
            if change.after is not None:
                known = entries.get(change.address) or LockEntry(change.address, {})
                if change.before is not None and known.intends(change.before.attributes):
                    # A killed run made it: that must not be forgotten with its intent, or it looks like another's.
                    known = self._entry(change, change.before.attributes, None)
                entries[change.address] = replace(known, intended=intent(change.after))
        # Settings are recorded at the end only: until then the reasons for what is left to do must stay visible.
        self._save(replace(self.lockfile, entries=entries, ports=dict(ports), engine=dict(engine or {})))

    def adopt(self, changes: Iterable[Change]) -> None:
        """Record resources that are already as wished and that the lockfile does not know, or knew otherwise."""
        entries = dict(self.lockfile.entries)
        for change in changes:
            if change.action is Action.NOOP and change.before and change.after:
                entries[change.address] = self._entry(change, change.before.attributes, entries.get(change.address))
        if entries != self.lockfile.entries:
            self._save(replace(self.lockfile, entries=entries))

    def note(self, change: Change, outcome: Outcome) -> None:
        """Keep one outcome in mind, for `flush` to write; a failed change leaves its former entry and its intent."""
        if not outcome.ok:
            self._note_former(outcome.restored)
            return
        entries = dict(self.lockfile.entries)
        if change.after is None:
            entries.pop(change.address, None)
        else:
            attributes = {**change.after.attributes, **outcome.attributes}
            entries[change.address] = self._entry(change, attributes, None)
        self.lockfile = replace(self.lockfile, entries=entries)

    def forget(self, address: Address) -> None:
        """Record that a resource is not ours any more."""
        self._save(replace(self.lockfile, entries={a: e for a, e in self.lockfile.entries.items() if a != address}))

    def flush(self) -> None:
        """Write what is in mind, if it is not written; may be called in another thread while more is noted."""
        with self._writing:
            wanted = self.lockfile
            if wanted is not self._saved:
                self._serial = self.store.save(replace(wanted, serial=self._serial)).serial
                self._saved = wanted

    def finish(self, command: str, result: str, *, settings: Mapping[str, str] | None) -> None:
        """Write down who applied what and how it ended; settings only when everything landed."""
        last = {"command": command, "result": result, "at": self._now()}
        kept = self.lockfile.settings if settings is None else dict(settings)
        self._save(replace(self.lockfile, last_apply=last, settings=kept))

    def put_back(self, restored: Iterable[Address]) -> None:
        """Record that these were undone: what was true before this run is true again."""
        self._note_former(restored)
        self.flush()

    def _note_former(self, restored: Iterable[Address]) -> None:
        former = {a: self.before.entries[a] for a in restored if a in self.before.entries}
        entries = {**self.lockfile.entries, **former}
        if entries != self.lockfile.entries:
            self.lockfile = replace(self.lockfile, entries=entries)

    def _entry(self, change: Change, attributes: Mapping[str, Value], known: LockEntry | None) -> LockEntry:
        recorded = {k: v for k, v in attributes.items() if k not in _UNRECORDED}
        if known is not None and dict(known.attributes) == recorded and not known.intended:
            return known
        return LockEntry(change.address, recorded, self._now(), change.depends_on)

    def _now(self) -> str:
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _save(self, lockfile: Lockfile) -> None:
        self.lockfile = lockfile
        self.flush()
        self.lockfile = self._saved = replace(lockfile, serial=self._serial, autogit_version=__version__)
