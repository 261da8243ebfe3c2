"""Deciding about mirrors: what a source is called, where a copy lies, when it is due, and how it stands. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import yaml
from pydantic import ValidationError

from autogit.core.yaml_source import YamlSource, read_yaml
from autogit.errors import Fault, SettingsError, UsageError
from autogit.model.mirror import MirrorRecord, MirrorRule, MirrorState, SourceKind, SourceRepository

RULES_FILE = "mirrors.yml"
_FORGE = re.compile(r"(github|gitlab|gitea|forgejo|bitbucket):(.+)", re.DOTALL)
_URL = re.compile(r"(?:https?|ssh)://[^\s]+|[\w.-]+@[\w.-]+:[^\s]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_JITTER = 0.1
_MOST_BACKOFF = 6
_HEAD = "# The mirrors of this project: `autogit mirror add` writes here, and so may you.\n"


def parse_source(text: str) -> tuple[SourceKind, str]:
    """Return a source's kind and owner: `github:you`, `gitlab:group/sub`, a git URL, or an absolute path.

    Raises UsageError for anything else.
    """
    if match := _FORGE.fullmatch(text):
        name = "gitea" if match[1] == "forgejo" else match[1]
        owner = match[2].strip("/")
        if not re.fullmatch(r"[\w.~-]+(?:/[\w.-]+)*", owner, re.ASCII) or ".." in owner.split("/"):
            raise UsageError(f"{match[1]}: {owner!r} is not the name of a user, an organisation or a group")
        return SourceKind(name), owner
    if text.startswith("/"):
        return SourceKind.PATH, text
    if _URL.fullmatch(text):
        return SourceKind.GIT, text
    raise UsageError(
        f"{text!r} is not a source: github:NAME, gitlab:GROUP, gitea:NAME, bitbucket:WORKSPACE, a git URL or a path",
        hint="autogit mirror add github:you --credential GITHUB_TOKEN",
    )


def rule_name(kind: SourceKind, owner: str) -> str:
    """Return the name that a rule has where none is given."""
    last = owner.rstrip("/").removesuffix(".git")
    last = last if kind not in {SourceKind.GIT, SourceKind.PATH} else last.rpartition("/")[2]
    return f"{kind}-{_UNSAFE.sub('-', last).strip('-.').replace('.', '-').replace('_', '-').lower()}"[:63].rstrip("-")


def read_rules(text: str, place: str = RULES_FILE) -> tuple[MirrorRule, ...]:
    """Return the rules of a file. Raises SettingsError with every fault and its line."""
    if not text.strip():
        return ()
    source = read_yaml(text)
    if source.faults:
        raise _faulty([Fault(f"{place} line {line}", "", sentence) for line, sentence in source.faults])
    data = source.data.get("mirrors") if isinstance(source.data, Mapping) else None
    if not isinstance(data, Sequence) or isinstance(data, str) or set(source.data) != {"mirrors"}:
        raise _faulty([Fault(f"{place} line 1", "mirrors", "must be a list, and the only key")])
    rules: list[MirrorRule] = []
    faults: list[Fault] = []
    for number, one in enumerate(data):
        try:
            rules.append(MirrorRule.model_validate(one))
        except ValidationError as exc:
            faults += _faults(exc, source, number, place)
    names = [rule.name for rule in rules]
    faults += [Fault(place, name, "two mirrors have this name") for name in sorted(set(names)) if names.count(name) > 1]
    if faults:
        raise _faulty(faults)
    return tuple(rules)


def _faults(exc: ValidationError, source: YamlSource, number: int, place: str) -> Iterable[Fault]:
    for error in exc.errors(include_url=False, include_input=False):
        where = ("mirrors", number, *error["loc"])
        yield Fault(f"{place} line {source.line_of(where)}", ".".join(map(str, error["loc"])), error["msg"].lower())


def _faulty(faults: Sequence[Fault]) -> SettingsError:
    count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    return SettingsError(f"{count} in {RULES_FILE}", faults=faults)


def write_rules(rules: Iterable[MirrorRule]) -> str:
    """Return the file of some rules; what is as by default is left out."""
    rows: list[dict[str, Any]] = [rule.model_dump(mode="json", exclude_defaults=True) for rule in rules]
    return _HEAD + yaml.safe_dump({"mirrors": rows}, sort_keys=False, allow_unicode=True)


def copy_folder(rule: MirrorRule, repository: SourceRepository, taken: Iterable[str]) -> str:
    """Return where a repository's copy lies: `<rule>/<path>.git`, told apart from others that only differ by case."""
    parts = [_UNSAFE.sub("_", part).lstrip(".-") or "_" for part in repository.path.split("/")]
    folder = "/".join((rule.name, *parts))
    if f"{folder}.git".casefold() in {one.casefold() for one in taken}:
        folder += "-" + hashlib.sha256(repository.identity.encode()).hexdigest()[:8]
    return f"{folder}.git"


def standing(record: MirrorRecord, rule: MirrorRule, now: datetime) -> MirrorState:
    """Return how a copy stands. Only a proof within its limit is `ok`: an attempt is none."""
    if record.gone_since:
        return MirrorState.GONE
    if record.moved:
        return MirrorState.MOVED
    if record.proof is None:
        return MirrorState.FAILING if record.error else MirrorState.NEW
    if now - record.proof.at > timedelta(seconds=rule.stale_after_seconds):
        return MirrorState.STALE
    return MirrorState.FAILING if record.error else MirrorState.OK


def next_check(record: MirrorRecord, rule: MirrorRule, now: datetime) -> datetime:
    """Return when a copy is due again: its interval, up to a tenth earlier so that not all are due at once.

    After failures it waits twice as long each time, up to 64 intervals but never longer than its limit.
    """
    share = int(hashlib.sha256(record.identity.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    seconds = rule.interval_seconds * (1 - _JITTER * share)
    if record.failures:
        seconds = min(
            seconds * 2 ** min(record.failures, _MOST_BACKOFF), max(rule.interval_seconds, rule.stale_after_seconds)
        )
    return now + timedelta(seconds=seconds)
