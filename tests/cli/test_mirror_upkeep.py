"""`autogit mirror sync` joins the packs of copies that have come to need it, and leaves all others alone."""

from __future__ import annotations

import pytest

from tests.cli.test_mirror import _objects, _refs, _upstream
from tests.providers.git.conftest import Upstream

_PACKS = 22


@pytest.fixture
def project(autogit, env):
    env("RUNTIME=embedded\n")
    return autogit


@pytest.fixture
def forge(tmp_path):
    root = tmp_path / "forge"
    for name in ("busy", "calm"):
        upstream = Upstream(root / f"{name}.git")
        upstream.ref("refs/heads/main", upstream.commit(f"first of {name}"))
    return root


@pytest.fixture
def copies(project, forge):
    """Copies of both, the busy one in as many packs as if it had been fetched as often."""
    assert project("mirror", "add", str(forge)).code == 0
    assert project("mirror", "sync").code == 0
    folder = project.root / ".autogit" / "mirrors" / "path-forge"
    busy = _upstream(folder / "busy.git")
    for number in range(_PACKS):
        blob = busy.git("hash-object", "-w", "--stdin", stdin=f"of pack {number}")
        busy.git("pack-objects", "-q", "objects/pack/pack", stdin=f"{blob}\n")
        (busy.path / "objects" / blob[:2] / blob[2:]).unlink()
    return folder


def _packs(copies, name):
    return len(list((copies / f"{name}.git" / "objects" / "pack").glob("*.pack")))


def _grow(forge, name):
    source = _upstream(forge / f"{name}.git")
    source.ref("refs/heads/main", source.commit("next", source.refs()["refs/heads/main"]))
    return source


def test_many_packs_are_joined_after_a_sync_that_changed_the_copy(project, forge, copies):
    source = _grow(forge, "busy")
    assert project("mirror", "sync").code == 0
    assert _packs(copies, "busy") < _PACKS / 2
    assert _refs(copies / "busy.git") == _refs(source.path)
    assert _objects(copies / "busy.git") == _objects(source.path)
    assert project("mirror", "verify").code == 0


def test_a_copy_without_need_and_a_sync_without_news_are_left_alone(project, forge, copies):
    before = {path: path.stat().st_mtime_ns for path in copies.rglob("*")}
    assert project("mirror", "sync").code == 0
    assert {path: path.stat().st_mtime_ns for path in copies.rglob("*")} == before
    _grow(forge, "calm")
    assert project("mirror", "sync").code == 0
    assert (_packs(copies, "calm"), _packs(copies, "busy")) == (2, _PACKS + 1)
    assert not (copies / "calm.git" / "objects" / "info" / "commit-graph").exists()


def test_what_was_kept_long_enough_is_forgotten(project, forge, copies):
    source = _upstream(forge / "calm.git")
    source.ref("refs/heads/main", source.commit("garbage"))
    assert project("mirror", "sync").code == 0
    calm = copies / "calm.git"
    lines = (calm / "packed-refs").read_text()
    assert "refs/autogit/backup/20" in lines
    old = lines.replace("refs/autogit/backup/20", "refs/autogit/backup/19")
    (calm / "packed-refs").write_text("\n".join([old.splitlines()[0], *sorted(old.splitlines()[1:], key=_name), ""]))
    _grow(forge, "calm")
    assert project("mirror", "sync").code == 0
    assert "refs/autogit/backup" not in (calm / "packed-refs").read_text()
    assert _objects(calm) == _objects(source.path)
    assert project("mirror", "verify").code == 0


def _name(line):
    return line.split(" ", 1)[1]
