"""`autogit mirror` as a user types it, with real repositories over smart HTTP and on this machine."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess

import pytest

from tests.git_server import GitServer
from tests.providers.git.conftest import Upstream

TOKEN = "canary-7d1f0c"


@pytest.fixture
def project(autogit, env):
    env("RUNTIME=embedded\n")
    return autogit


@pytest.fixture
def forge(tmp_path):
    """A folder of four bare repositories with branches, tags and notes."""
    root = tmp_path / "forge"
    for name in ("one", "two", "three", "sub/four"):
        upstream = Upstream(root / f"{name}.git")
        first = upstream.commit(f"first of {name}")
        second = upstream.ref("refs/heads/main", upstream.commit("second", first))
        upstream.ref("refs/heads/topic", upstream.commit("topic", first))
        upstream.git("tag", "-a", "v1", "-m", "one", second)
        upstream.git("notes", "add", "-m", "well done", second)
        upstream.ref("refs/pull/7/head", upstream.commit("from a fork", second))
    return root


@pytest.fixture
def served(forge):
    with GitServer(forge, {"git": TOKEN}) as server:
        yield server


def _objects(folder):
    words = ["git", "-C", folder, "rev-list", "--objects", "--exclude=refs/autogit/*", "--all"]
    return sorted(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines())


def _refs(folder):
    return [line for line in _git(folder, "for-each-ref").splitlines() if "\trefs/autogit/" not in line]


def _git(folder, *words):
    return subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True).stdout


def _upstream(folder):
    found = object.__new__(Upstream)
    found.path = folder
    return found


def _keep_token(project, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    assert project("secrets", "set", "GIT_TOKEN").code == 0


def test_all_of_a_folder_is_copied_whole_and_proven(project, forge):
    assert project("mirror", "add", str(forge)).code == 0
    done = project("mirror", "sync", "--format", "json")
    view = done.json()
    assert (done.code, view["counts"]["ok"], view["changed"], view["problems"]) == (0, 4, 4, [])
    assert {one["refs"] for one in view["mirrors"]} == {5}
    for one in view["mirrors"]:
        copy, source = project.root / ".autogit" / "mirrors" / one["folder"], forge / f"{one['path']}.git"
        assert _objects(copy) == _objects(source)
        assert _refs(copy) == _refs(source)


def test_a_copy_that_is_equal_costs_one_request_and_is_not_touched(project, served, monkeypatch):
    _keep_token(project, monkeypatch)
    assert project("mirror", "add", f"{served.url}/one.git", "--credential", "GIT_TOKEN").code == 0
    assert project("mirror", "sync").code == 0
    folder = project.root / ".autogit" / "mirrors" / "git-one"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    served.requests.clear()
    assert project("mirror", "sync").code == 0
    assert served.requests == ["GET /one.git/info/refs?service=git-upload-pack"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_token_is_in_the_encrypted_store_only(project, served, monkeypatch):
    _keep_token(project, monkeypatch)
    project("mirror", "add", f"{served.url}/one.git", "--credential", "GIT_TOKEN")
    said = [project("mirror", *words) for words in (["sync"], ["list"], ["status", "-v"], ["sync", "--debug"])]
    served.users["git"] = "another"
    said.append(project("mirror", "sync"))
    assert said[-1].code == 1
    assert "does not take the credential" in said[-1].out
    assert [one for one in said if TOKEN in one.out + one.err] == []
    files = [path for path in project.root.rglob("*") if path.is_file()]
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


def test_what_the_source_overwrote_is_brought_back(project, forge):
    project("mirror", "add", str(forge), "--include", "one")
    project("mirror", "sync")
    source = _upstream(forge / "one.git")
    lost = _git(source.path, "rev-parse", "refs/heads/main").strip()
    source.ref("refs/heads/main", source.commit("garbage"))
    source.delete("refs/heads/topic")
    assert project("mirror", "sync").code == 0
    copy = project.root / ".autogit" / "mirrors" / "path-forge" / "one.git"
    assert _objects(copy) == _objects(source.path)
    view = project("mirror", "restore", "path-forge", "one", "refs/heads/main", "--format", "json").json()
    assert view["object_id"] == lost
    assert _git(copy, "rev-parse", view["ref"]).strip() == lost
    assert project("mirror", "status").code == 0


def test_one_bad_repository_stops_no_other_and_its_last_proof_stays(project, served, monkeypatch):
    _keep_token(project, monkeypatch)
    for name in ("one", "two"):
        project("mirror", "add", f"{served.url}/{name}.git", "--credential", "GIT_TOKEN")
    project("mirror", "sync")
    served.fault = lambda path: 503 if "/one.git" in path else None
    done = project("mirror", "sync")
    assert done.code == 1
    assert "git-one/one" in done.out
    assert "HTTP 503" in done.out
    assert "1 ok, 1 failing" in done.out
    view = project("mirror", "status", "--format", "json").json()
    assert {one["path"]: one["refs"] for one in view["mirrors"]} == {"one": 5, "two": 5}


def test_a_source_that_is_gone_keeps_its_copy(project, forge):
    project("mirror", "add", str(forge))
    project("mirror", "sync")
    shutil.rmtree(forge / "two.git")
    done = project("mirror", "sync")
    assert done.code == 1
    assert "3 ok, 1 gone" in done.out
    assert _objects(project.root / ".autogit" / "mirrors" / "path-forge" / "two.git")
    folder = project.root / ".autogit" / "mirrors" / "path-forge"
    removed = project("mirror", "remove", "path-forge")
    assert str(folder) in removed.err
    assert (folder / "two.git" / "HEAD").exists()
    assert "Nothing is mirrored" in project("mirror", "list").out


def test_a_source_that_shows_nothing_any_more_empties_no_copy_by_itself(project, forge):
    project("mirror", "add", str(forge), "--include", "one")
    project("mirror", "sync")
    source = _upstream(forge / "one.git")
    for name in source.refs():
        source.delete(name)
    done = project("mirror", "sync")
    assert done.code == 1
    assert "shows no refs any more" in done.out
    copy = project.root / ".autogit" / "mirrors" / "path-forge" / "one.git"
    assert "refs/heads/main" in _git(copy, "for-each-ref")
    assert project("mirror", "sync", "--allow-empty").code == 0
    assert _refs(copy) == []
    assert project("mirror", "restore", "path-forge", "one", "refs/heads/main").code == 0


def test_only_what_is_due_is_looked_at(project, served, monkeypatch):
    _keep_token(project, monkeypatch)
    project("mirror", "add", f"{served.url}/one.git", "--credential", "GIT_TOKEN")
    project("mirror", "sync")
    served.requests.clear()
    assert project("mirror", "sync", "--due").code == 0
    assert served.requests == []


def test_every_object_is_checked_when_that_is_asked_for(project, forge):
    project("mirror", "add", str(forge), "--include", "one")
    project("mirror", "sync")
    assert project("mirror", "verify").code == 0
    copy = project.root / ".autogit" / "mirrors" / "path-forge" / "one.git"
    pack = next(copy.rglob("*.pack"), None) or next(p for p in (copy / "objects").rglob("*") if len(p.name) == 38)
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:-30] + b"x" * 30)
    assert project("mirror", "verify").code == 1


def test_two_syncs_at_once_are_one(project, forge):
    project("mirror", "add", str(forge))
    project("mirror", "sync")
    holder = os.open(project.root / ".autogit" / "mirrors" / "sync.lock", os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert project("mirror", "sync").code == 5
    finally:
        os.close(holder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "ext::sh -c id"], "is not a source"),
        (["add", "github:you", "--credential", "NOT_THERE"], "autogit secrets set NOT_THERE"),
        (["sync", "nobody"], "no mirror is called nobody"),
        (["remove", "nobody"], "no mirror is called nobody"),
        (["restore", "nobody", "x", "refs/heads/main"], "no mirror is called nobody"),
        (["add", "/srv/git", "--name", "Not A Name"], "--name: not in the form"),
    ],
)
def test_bad_words_are_a_usage_error_and_change_nothing(project, words, said):
    done = project("mirror", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not (project.root / "mirrors.yml").exists()


def test_a_mirror_is_added_once(project, forge):
    assert project("mirror", "add", str(forge)).code == 0
    written = (project.root / "mirrors.yml").read_bytes()
    done = project("mirror", "add", str(forge))
    assert done.code == 2
    assert "there is a mirror path-forge already" in done.err
    assert (project.root / "mirrors.yml").read_bytes() == written


def test_a_broken_file_of_mirrors_is_told_with_its_line(project):
    (project.root / "mirrors.yml").write_text("mirrors:\n- name: a\n  kind: svn\n  owner: x\n")
    done = project("mirror", "sync")
    assert done.code == 2
    assert "mirrors.yml line 3" in done.err


def test_a_secret_of_the_platform_is_not_overwritten_and_nothing_is_no_secret(project, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert project("secrets", "set", "EMPTY").code == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("x"))
    assert project("secrets", "set", "not a name").code == 2
