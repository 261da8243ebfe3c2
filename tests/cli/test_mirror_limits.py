"""`autogit mirror sync` within limits: a repository's size, the time of a run, a disk that is full."""

from __future__ import annotations

import io
import os
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from autogit.operations.mirror_limits import ASKED_AT_ONCE, FETCHED_AT_ONCE
from tests.cli.test_mirror import _git, _objects, _refs, _upstream
from tests.fakes.forges.gitea import FakeGitea
from tests.git_server import GitServer
from tests.providers.git.conftest import Upstream

_TIB = 1 << 20  # in MB


@pytest.fixture
def project(autogit, env):
    env("RUNTIME=embedded\n")
    return autogit


@pytest.fixture
def forge(tmp_path):
    """A folder of twelve bare repositories."""
    root = tmp_path / "forge"
    for number in range(12):
        upstream = Upstream(root / f"r{number:02}.git")
        upstream.ref("refs/heads/main", upstream.commit(f"first of {number}"))
    return root


@pytest.fixture
def served(forge):
    with GitServer(forge) as server:
        yield server


def _declare(project, *rules):
    (project.root / "mirrors.yml").write_text(yaml.safe_dump({"mirrors": list(rules)}))


def _urls(served, count):
    return [{"name": f"m{n:02}", "kind": "git", "owner": f"{served.url}/r{n:02}.git"} for n in range(count)]


def _fetched(served):
    return {request.split("/")[1] for request in served.requests if request.startswith("POST")}


def _copy(project, number=0):
    return project.root / ".autogit" / "mirrors" / f"m{number:02}" / f"r{number:02}.git"


def test_past_its_time_a_sync_begins_nothing_and_the_next_begins_with_what_was_left(project, served):
    _declare(project, *_urls(served, 12))
    over = threading.Event()

    def slow(path):  # the fetches that are begun go on until the second is over
        if "git-upload-pack" in path and "info/refs" not in path:
            over.wait(1.1)

    served.fault = slow
    done = project("mirror", "sync", "--budget", "1s")
    begun = _fetched(served)
    left = 12 - len(begun)
    assert left >= 12 - FETCHED_AT_ONCE
    assert f"{left} repositories not begun" in done.out
    assert "left for the next sync" in done.err
    assert (done.code, f"{left} new" in done.out) == (1, True)
    over.set()
    served.requests.clear()
    assert project("mirror", "sync", "--budget", "2m").code == 0
    assert (len(_fetched(served)), begun & _fetched(served)) == (left, set())


def test_a_source_that_hangs_holds_up_no_other(project, served):
    _declare(project, *_urls(served, 12))
    others = threading.Event()

    def hang(path):
        if "/r00.git" in path:
            others.wait(60)
            return 503
        if len(_fetched(served)) == 11:
            others.set()
        return None

    served.fault = hang
    done = project("mirror", "sync")
    assert others.is_set()
    assert "11 ok, 1 failing" in done.out
    served.fault = lambda _path: None
    assert project("mirror", "sync").code == 0


def test_a_host_that_wants_a_pause_is_asked_no_more(project, served):
    _declare(project, *_urls(served, 100))
    served.fault = lambda _path: 429
    done = project("mirror", "sync")
    assert "100 failing" in done.out
    assert "wants fewer requests" in done.out
    assert len(served.requests) <= ASKED_AT_ONCE


@pytest.mark.parametrize("budget", ["soon", "0m", "-1s", "30 minutes"])
def test_a_time_that_is_none_is_told_before_anything_is_asked(project, served, budget):
    _declare(project, *_urls(served, 1))
    done = project("mirror", "sync", f"--budget={budget}")
    assert done.code == 2
    assert "30m, 2h and 90s are" in done.err
    assert served.requests == []


def test_nothing_is_fetched_onto_a_disk_that_is_nearly_full(project, served, forge):
    rule = _urls(served, 1)[0]
    _declare(project, rule)
    assert project("mirror", "sync").code == 0
    before = _refs(_copy(project))
    source = _upstream(forge / "r00.git")
    source.ref("refs/heads/main", source.commit("second", source.refs()["refs/heads/main"]))
    _declare(project, rule | {"min_free_mb": 64 * _TIB})
    served.requests.clear()
    done = project("mirror", "sync")
    assert done.code == 1
    assert f"{64 * _TIB} MB are wanted before a fetch begins" in done.out
    assert [request for request in served.requests if request.startswith("POST")] == []
    assert _refs(_copy(project)) == before
    _declare(project, rule)
    assert project("mirror", "sync").code == 0
    assert _refs(_copy(project)) == _refs(source.path)


def test_a_disk_that_fills_up_amid_a_fetch_leaves_the_copies_as_they_were(project, served, forge):
    mirrors = project.root / ".autogit" / "mirrors"
    rules = [rule | {"min_free_mb": 0} for rule in _urls(served, 2)]
    _declare(project, *rules)
    mirrors.mkdir(parents=True)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", mirrors], check=False, capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert project("mirror", "sync").code == 0
        before = _refs(_copy(project)), _objects(_copy(project))
        big, small = (_upstream(forge / f"r{n:02}.git") for n in range(2))
        _commit_file(big, os.urandom(12 << 20))
        small.ref("refs/heads/other", small.commit("small"))
        done = project("mirror", "sync")
        assert done.code == 1
        assert "the disk is full" in done.out
        assert (_refs(_copy(project)), _objects(_copy(project))) == before
        _git(_copy(project), "fsck", "--strict")
        assert [path.name for path in _copy(project).rglob("tmp_*")] == []
        assert project("mirror", "status").code == 1
        subprocess.run(["mount", "-o", "remount,size=64m", mirrors], check=True)
        assert project("mirror", "sync").code == 0
        for number, source in enumerate((big, small)):
            assert _objects(_copy(project, number)) == _objects(source.path)
    finally:
        subprocess.run(["umount", mirrors], check=True)


def _commit_file(upstream, data):
    Path(upstream.path / "blob").write_bytes(data)
    blob = upstream.git("hash-object", "-w", "blob")
    tree = upstream.git("mktree", stdin=f"100644 blob {blob}\tfile\n")
    upstream.ref("refs/heads/big", upstream.git("commit-tree", tree, stdin="big"))


def test_a_repository_that_is_too_large_is_left_out_and_its_copy_stays(project, tmp_path, monkeypatch):
    with FakeGitea().with_code(GitServer(tmp_path / "gitea")) as forge:
        forge.root_url = forge.url
        forge.opens = lambda _user, _password: True
        forge.users.add("you")
        numbers = {name: forge.add("you", name, has_wiki=False) for name in ("app", "video")}
        for name in numbers:
            upstream = Upstream(tmp_path / "gitea" / "you" / f"{name}.git")
            upstream.ref("refs/heads/main", upstream.commit(name))
        forge.repositories[numbers["video"]]["size"] = 6 << 20  # KiB
        monkeypatch.setattr("sys.stdin", io.StringIO(forge.add_token("you")))
        assert project("secrets", "set", "TOKEN").code == 0
        rule = {"name": "you", "kind": "gitea", "owner": "you", "server": forge.url, "credential": "TOKEN"}
        _declare(project, rule | {"max_repository_mb": 1000})
        done = project("mirror", "sync")
        assert "you: video is left out: 6144 MB at the source, max_repository_mb is 1000" in done.out
        assert (done.code, "1 ok; repositories: 1" in done.out) == (0, True)
        _declare(project, rule)
        assert "2 ok" in project("mirror", "sync").out
        _declare(project, rule | {"max_repository_mb": 1000})
        done = project("mirror", "sync")
        assert "video is left out" in done.out
        assert (done.code, "2 ok" in done.out) == (0, True)
        assert _refs(project.root / ".autogit" / "mirrors" / "you" / "video.git")
