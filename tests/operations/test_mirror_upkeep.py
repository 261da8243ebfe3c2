"""Upkeep of copies ends with the time of a sync, and what fails in it is told and harms nothing."""

from __future__ import annotations

import asyncio

import pytest

from autogit.errors import UsageError
from autogit.operations.mirror_limits import Pace, parse_duration
from autogit.operations.mirror_upkeep import keep_up
from autogit.providers.git.bare import BareCopy
from autogit.providers.git.runner import Git
from tests.providers.git.conftest import Upstream


@pytest.fixture
def copy(tmp_path):
    """A copy that needs upkeep: each of its objects is in a pack of its own."""
    made = Upstream(tmp_path / "copy.git")
    made.ref("refs/heads/main", made.commit("first"))
    for number in range(22):
        blob = made.git("hash-object", "-w", "--stdin", stdin=f"of pack {number}")
        made.git("pack-objects", "-q", "objects/pack/pack", stdin=f"{blob}\n")
    return BareCopy(made.path, Git())


def _packs(copy):
    return len(list((copy.path / "objects" / "pack").glob("*.pack")))


def test_it_begins_with_no_copy_past_the_time(copy):
    assert asyncio.run(keep_up({"one": (copy, False)}, Pace(1e-9))) == ()
    assert _packs(copy) == 22
    asyncio.run(keep_up({"one": (copy, False)}, Pace(600.0)))
    assert _packs(copy) == 1


def test_a_copy_that_cannot_be_maintained_is_told_and_the_next_one_is(copy, tmp_path):
    nothing = BareCopy(tmp_path / "nothing.git", Git())
    (told,) = asyncio.run(keep_up({"gone": (nothing, True), "one": (copy, False)}, Pace()))
    assert told.startswith("gone: its packs were not joined: git: ")
    assert _packs(copy) == 1


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("", None)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "1d", "-5m", "1.5h", "9999999s", "m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError):
        parse_duration(text)
