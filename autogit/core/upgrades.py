"""Upgrades of services whose data must stop at certain versions on the way: the path, and the refusal of a jump; pure.

A service that needs it has an `upgrade-path.yml` in its folder. Only major and minor count: moves between patches of
one minor version are free in both directions.

| wanted | verdict |
|---|---|
| same major and minor | free |
| older | refused: only a restore goes back |
| newer, no stop strictly between | free |
| newer, stops strictly between | refused, with the stops in order |
| either version cannot be read from its image (a digest, a local image) | no verdict |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from autogit.core.catalogue import did_you_mean
from autogit.core.yaml_source import Path, read_yaml
from autogit.errors import DescriptorError, Fault, UnsupportedError

_KEYS = ("pattern", "rule_minors", "stops")
_STOP_KEYS = frozenset({"stop", "tag"})
_GROUPS = frozenset({"major", "minor", "patch"})
_STOP = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")
_NUMBER = re.compile(r"[0-9]{1,4}")

Minor = tuple[int, int]
"""A major and a minor version, which is what a stop is."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One version that may not be skipped; `tag` is the image tag of its newest known patch, "" where none is."""

    minor: Minor
    tag: str = ""


@dataclass(frozen=True, slots=True)
class UpgradePath:
    """The stops of one service, oldest first.

    After the last of them, every major version has its stops at `rule_minors`. `pattern` reads a whole image tag and
    has the groups `major`, `minor`, `patch`, and `edition` where images come in more than one.
    """

    stops: tuple[Stop, ...]
    rule_minors: tuple[int, ...]
    pattern: re.Pattern[str]


class _Version(NamedTuple):
    minor: Minor
    patch: int
    edition: str

    def __str__(self) -> str:
        return f"{self.minor[0]}.{self.minor[1]}.{self.patch}"


def load_upgrade_path(text: str, origin: str) -> UpgradePath:
    """Read an `upgrade-path.yml`; `origin` is how the file is shown. Raises DescriptorError with all faults."""
    source = read_yaml(text)
    faults = [Fault(f"{origin} line {line}", "upgrade-path", message) for line, message in source.faults]
    if not faults:
        faults = [
            Fault(f"{origin} line {source.line_of(path)}", ".".join(map(str, path)) or "upgrade-path", message)
            for path, message in _faults(source.data)
        ]
    if faults:
        raise DescriptorError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in {origin}",
            faults=faults,
            hint="templates/services/gitlab/upgrade-path.yml shows a whole one",
        )
    stops = tuple(Stop(_minor(row["stop"]), row.get("tag", "")) for row in source.data["stops"])
    return UpgradePath(stops, tuple(source.data["rule_minors"]), re.compile(source.data["pattern"]))


def path_between(path: UpgradePath, current: str, wanted: str) -> tuple[str, ...]:
    """Return the tags to visit between two image references or tags, in order and without either.

    A stop whose patch is not known is written `20.2 (its latest patch)`. Empty where nothing lies between, where wanted
    is the older one, and where a version cannot be read.
    """
    start, end = _read_version(path.pattern, _tag(current)), _read_version(path.pattern, _tag(wanted))
    if start is None or end is None:
        return ()
    return tuple(_shown(path, stop, end.edition) for stop in _stops_between(path, start.minor, end.minor))


def check_jump(path: UpgradePath, service: str, current_ref: str, wanted_ref: str) -> None:
    """Raise UnsupportedError where the service's data cannot go from one image to the other in one step."""
    current, wanted = _read_version(path.pattern, _tag(current_ref)), _read_version(path.pattern, _tag(wanted_ref))
    if current is None or wanted is None:
        return
    setting = f"IMAGE_{service.upper().replace('-', '_')}"
    if wanted.minor < current.minor:
        raise UnsupportedError(
            f"{service} {current} cannot go back to {wanted}: its data is newer, and goes back only by restore",
            hint=f"keep {setting} at {_tag(current_ref)} or later, or restore a backup that {wanted} made",
        )
    between = path_between(path, current_ref, wanted_ref)
    if between:
        raise UnsupportedError(
            f"{service} {current} cannot go to {wanted} in one step: its data must stop on the way at "
            f"{', '.join(between)}{', in this order' if len(between) > 1 else ''}",
            hint=f"{setting}={_repository(wanted_ref)}{between[0]} in .env, autogit up, wait until its background "
            "migrations have finished, then the next",
        )


def _stops_between(path: UpgradePath, low: Minor, high: Minor) -> Iterator[Stop]:
    yield from (stop for stop in path.stops if low < stop.minor < high)
    known = max(low, path.stops[-1].minor)
    for major in range(known[0], high[0] + 1):
        yield from (Stop((major, minor)) for minor in path.rule_minors if known < (major, minor) < high)


def _shown(path: UpgradePath, stop: Stop, edition: str) -> str:
    match = path.pattern.fullmatch(stop.tag)
    if match is None:
        return f"{stop.minor[0]}.{stop.minor[1]} (its latest patch)"
    if not edition or not match.groupdict().get("edition"):
        return stop.tag
    return f"{stop.tag[: match.start('edition')]}{edition}{stop.tag[match.end('edition') :]}"


def _read_version(pattern: re.Pattern[str], tag: str) -> _Version | None:
    match = pattern.fullmatch(tag)
    if match is None:
        return None
    groups = match.groupdict()
    numbers = [groups[name] or "" for name in ("major", "minor", "patch")]
    if not all(_NUMBER.fullmatch(number) for number in numbers):
        return None
    major, minor, patch = map(int, numbers)
    return _Version((major, minor), patch, groups.get("edition") or "")


def _repository(reference: str) -> str:
    """Return `gitlab/gitlab-ce:` of a reference, "" of a mere tag."""
    return reference.partition("@")[0].removesuffix(_tag(reference))


def _tag(reference: str) -> str:
    """Return the tag of an image reference, or the whole where it is a mere tag; a digest says nothing."""
    tag = reference.partition("@")[0].rpartition(":")[2]
    return "" if "/" in tag else tag  # with a slash: a registry's port, or a name without a tag


def _minor(text: str) -> Minor:
    major, minor = text.split(".")
    return int(major), int(minor)


def _faults(data: Any) -> Iterator[tuple[Path, str]]:
    if not isinstance(data, dict):
        yield (), "must be a mapping of keys to values"
        return
    for key in data:
        if key not in _KEYS:
            yield (str(key),), f"unknown key{did_you_mean(str(key), _KEYS)}"
    yield from (((), f"{key} is missing") for key in _KEYS if key not in data)
    if "rule_minors" in data:
        yield from _minors_faults(data["rule_minors"])
    pattern = None
    if "pattern" in data:
        pattern = _compiled(data["pattern"])
        if isinstance(pattern, str):
            yield ("pattern",), pattern
    if "stops" in data:
        yield from _stops_faults(data["stops"], pattern if isinstance(pattern, re.Pattern) else None)


def _minors_faults(minors: Any) -> Iterator[tuple[Path, str]]:
    whole = isinstance(minors, list) and all(type(minor) is int and minor >= 0 for minor in minors)
    if not whole or not minors or sorted(set(minors)) != minors:
        yield ("rule_minors",), "must be a list of minor versions, rising, as in [2, 5, 8, 11]"


def _compiled(pattern: Any) -> re.Pattern[str] | str:
    """Return the expression, or what is wrong with it."""
    if not isinstance(pattern, str):
        return "must be a regular expression"
    try:
        compiled = re.compile(pattern)
    except re.error as exc:
        return f"is not a regular expression: {exc}"
    missing = sorted(_GROUPS - set(compiled.groupindex))
    return f"has no group {', '.join(missing)}" if missing else compiled


def _stops_faults(stops: Any, pattern: re.Pattern[str] | None) -> Iterator[tuple[Path, str]]:
    if not isinstance(stops, list) or not stops:
        yield ("stops",), "must be a list of stops"
        return
    last: Minor = (-1, -1)
    for index, row in enumerate(stops):
        place: Path = ("stops", index)
        if not isinstance(row, dict) or "stop" not in row or set(row) - _STOP_KEYS:
            yield place, "must have the key stop, may have the key tag, and no other"
        elif not isinstance(row["stop"], str) or not _STOP.fullmatch(row["stop"]):
            yield place, 'stop must be a major and a minor version in quotes, as in "18.11"'
        else:
            minor = _minor(row["stop"])
            if minor <= last:
                yield place, f"{row['stop']} is out of order: stops stand oldest first"
            last = minor
            yield from ((place, message) for message in _tag_faults(row, minor, pattern))


def _tag_faults(row: dict[str, Any], minor: Minor, pattern: re.Pattern[str] | None) -> Iterator[str]:
    if pattern is None or "tag" not in row:
        return
    version = _read_version(pattern, row["tag"]) if isinstance(row["tag"], str) else None
    if version is None:
        yield f"tag {row['tag']} cannot be read by the pattern"
    elif version.minor != minor:
        yield f"tag {row['tag']} is not a patch of {row['stop']}"
