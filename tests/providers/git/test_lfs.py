"""LFS objects: known from the history, fetched before they are pushed, and told when they are nowhere."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from autogit.errors import ProviderAuthError, UnsupportedError
from autogit.providers.git.bare import Reading
from autogit.providers.git.lfs import LfsObjects
from autogit.providers.git.lfs_files import object_path
from autogit.providers.git.push import Writing
from tests.tools import require_tool


@pytest.fixture
def lfs(bench):
    programs = f"{Path(require_tool('git-lfs')).parent}:{os.environ['PATH']}"
    return LfsObjects(bench.copy, programs=programs)


def _add(source, branch, content):
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    tip = source.refs().get(f"refs/heads/{branch}")
    source.ref(f"refs/heads/{branch}", source.commit(pointer, *([tip] if tip else [])))
    return oid


def test_objects_are_fetched_once_and_pushed(bench, source, served, lfs):
    url = f"{served.url}/source.git"
    contents = [b"one" * 1000, b"two" * 2000]
    oids = sorted(_add(source, branch, content) for branch, content in zip(("main", "x"), contents, strict=True))
    served.lfs["source.git"] = {hashlib.sha256(content).hexdigest(): content for content in contents}
    bench.sync(url, credential=served.credential)
    assert list(asyncio.run(lfs.missing())) == oids
    done = asyncio.run(lfs.fetch_all(Reading(url, served.credential)))
    assert (done.objects, done.missing, done.moved) == (2, (), 2)
    served.requests.clear()
    assert asyncio.run(lfs.fetch_all(Reading(url, served.credential))).moved == 0
    assert served.requests == []
    bench.upstream("target.git")
    asyncio.run(lfs.push_all(Writing(f"{served.url}/target.git", served.credential)))
    assert served.lfs["target.git"] == served.lfs["source.git"]
    files = [path for path in bench.copy.path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"canary" in path.read_bytes()]


def test_objects_that_the_source_lost_are_told_and_the_others_come(bench, source, served, lfs):
    url = f"{served.url}/source.git"
    lost, here = _add(source, "main", b"lost"), _add(source, "main", b"here")
    served.lfs["source.git"] = {here: b"here"}
    bench.sync(url, credential=served.credential)
    done = asyncio.run(lfs.fetch_all(Reading(url, served.credential)))
    assert (done.missing, done.moved) == ((lost,), 1)
    assert asyncio.run(lfs.push_all(Writing(f"{served.url}/target.git", served.credential))).missing == (lost,)


def test_a_refused_credential_is_told(bench, source, served, lfs):
    _add(source, "main", b"x")
    bench.sync(source.path)
    with pytest.raises(ProviderAuthError):
        asyncio.run(lfs.fetch_all(Reading(f"{served.url}/source.git")))


def test_a_hostile_lfsconfig_leads_nowhere(bench, source, served, lfs):
    url = f"{served.url}/source.git"
    oid = _add(source, "main", b"x")
    served.lfs["source.git"] = {oid: b"x"}
    blob = source.git("hash-object", "-w", "--stdin", stdin="[lfs]\n\turl = http://127.0.0.1:9/evil\n")
    tree = source.git("mktree", stdin=f"100644 blob {blob}\t.lfsconfig\n")
    source.ref("refs/heads/main", source.git("commit-tree", tree, "-p", "refs/heads/main", stdin="x"))
    bench.sync(url, credential=served.credential)
    assert asyncio.run(lfs.fetch_all(Reading(url, served.credential))).moved == 1


def test_without_git_lfs_it_is_said_and_a_source_of_this_host_needs_none(bench, source, served):
    programs = bench.root / "bin"
    programs.mkdir()
    lfs = LfsObjects(bench.copy, programs=str(programs))
    oid, bad = _add(source, "main", b"content"), _add(source, "main", b"other")
    bench.sync(source.path)
    with pytest.raises(UnsupportedError, match="2 LFS objects"):
        asyncio.run(lfs.fetch_all(Reading(f"{served.url}/source.git", served.credential)))
    for name, content in ((oid, b"content"), (bad, b"tampered")):
        object_path(source.path, name).parent.mkdir(parents=True)
        object_path(source.path, name).write_bytes(content)
    done = asyncio.run(lfs.fetch_all(Reading(str(source.path))))
    assert (done.moved, done.missing) == (1, (bad,))


def test_new_history_is_read_from_where_it_was_left(bench, source):
    lfs = LfsObjects(bench.copy)
    oid = _add(source, "main", b"a")
    bench.sync(source.path)
    assert asyncio.run(lfs.pointers()) == {oid: 1}
    source.delete("refs/heads/main")
    later = _add(source, "y", b"bb")
    bench.sync(source.path)
    assert asyncio.run(lfs.pointers()) == {oid: 1, later: 2} == asyncio.run(lfs.pointers(anew=True))
