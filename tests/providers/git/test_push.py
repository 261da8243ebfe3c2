"""Pushing a copy: what differs, all of it, and nothing over what is someone else's."""

from __future__ import annotations

import asyncio

import pytest

from autogit.errors import ProviderAuthError, UnavailableError
from autogit.model.mirror import Advertisement
from autogit.providers.git.push import Layout, Writing, push, target_refs
from autogit.providers.git.refs import difference


@pytest.fixture
def target(bench):
    upstream = bench.upstream("target.git")
    upstream.git("config", "http.receivepack", "true")
    upstream.git("config", "receive.advertisePushOptions", "true")
    upstream.git("config", "receive.denyDeleteCurrent", "ignore")
    return upstream


@pytest.fixture
def url(served):
    return f"{served.url}/target.git"


def _push(bench, url, credential, layout=Layout.GITLAB, **options):
    found = bench.advertise(url, credential).refs
    return asyncio.run(push(bench.copy, found, Writing(url, credential, layout, **options)))


def _unlike(bench, target, layout=Layout.GITLAB):
    wanted = target_refs(asyncio.run(bench.copy.refs()), layout)
    return difference(Advertisement(wanted), Advertisement(target.refs()), own=True)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_target_gets_every_ref_under_a_name_that_it_takes(bench, source, target, served, url, layout):
    bench.sync(source.path)
    done = _push(bench, url, served.credential, layout)
    assert (len(done.pushed), done.deleted, done.rejected) == (len(source.refs()), (), {})
    pull = {Layout.PLAIN: "refs/pull/7/head", Layout.GITLAB: "refs/autogit/pull/7/head"}[layout]
    assert target.refs()[pull] == source.refs()["refs/pull/7/head"]
    assert _unlike(bench, target, layout) == ()
    assert _push(bench, url, served.credential, layout).pushed == ()


def test_force_pushes_deletions_and_folders_in_place_of_branches_follow(bench, source, target, served, url):
    bench.sync(source.path)
    _push(bench, url, served.credential)
    source.ref("refs/heads/main", source.commit("garbage"))
    source.delete("refs/heads/topic/a")
    source.ref("refs/heads/topic", source.commit("a branch now"))
    source.delete("refs/tags/light")
    bench.sync(source.path)
    done = _push(bench, url, served.credential)
    assert done.deleted == ("refs/heads/topic/a", "refs/tags/light")
    assert done.rejected == {}
    assert _unlike(bench, target) == ()


def test_a_restored_branch_reaches_the_target(bench, source, target, served, url):
    bench.sync(source.path)
    old = source.refs()["refs/heads/main"]
    source.ref("refs/heads/main", source.commit("garbage"))
    bench.sync(source.path)
    restored = asyncio.run(bench.copy.restore("refs/heads/main"))
    _push(bench, url, served.credential)
    assert target.refs()[restored.target] == old
    asyncio.run(bench.copy.forget_restored(restored.ref))
    assert _push(bench, url, served.credential).deleted == (restored.target,)


def test_what_someone_else_put_at_the_target_stays_and_is_told(bench, source, target, served, url):
    bench.sync(source.path)
    _push(bench, url, served.credential)
    theirs = target.ref("refs/heads/main", target.commit("their work", source.refs()["refs/heads/main"]))
    target.ref("refs/heads/their/branch", theirs)
    source.ref("refs/heads/main", source.commit("ours"))
    source.ref("refs/heads/new", source.commit("new"))
    bench.sync(source.path)
    done = _push(bench, url, served.credential)
    assert done.pushed == ("refs/heads/new",)
    assert done.rejected == {"refs/heads/main": "changed at the target by someone else: left as it is"}
    assert target.refs()["refs/heads/main"] == target.refs()["refs/heads/their/branch"] == theirs
    done = _push(bench, url, served.credential, overwrite=frozenset({"refs/heads/main"}))
    assert done.pushed == ("refs/heads/main",)
    assert target.refs()["refs/heads/their/branch"] == theirs


def test_one_protected_branch_does_not_hold_up_the_others(bench, source, target, served, url):
    hook = target.path / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\n[ "$1" != refs/heads/main ] || { echo "GitLab: protected branch" >&2; exit 1; }\n')
    hook.chmod(0o755)
    bench.sync(source.path)
    done = _push(bench, url, served.credential)
    assert done.rejected == {"refs/heads/main": "[remote rejected] (hook declined): protected branch"}
    assert len(done.pushed) == len(source.refs()) - 1
    hook.unlink()
    assert _push(bench, url, served.credential).pushed == ("refs/heads/main",)


def test_of_many_that_are_refused_together_the_bad_one_is_found(bench, source, target, served, url):
    hook = target.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n! grep -q heads/b7 || { echo 'GitLab: not that name' >&2; exit 1; }\n")
    hook.chmod(0o755)
    tip = source.refs()["refs/heads/main"]
    for number in range(12):
        source.ref(f"refs/heads/b{number}", tip)
    bench.sync(source.path)
    done = _push(bench, url, served.credential)
    assert done.rejected == {"refs/heads/b7": "[remote rejected] (pre-receive hook declined): not that name"}
    assert len(done.pushed) == len(source.refs()) - 1


def test_a_target_without_room_is_told_as_that(bench, source, target, served, url):
    hook = target.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'fatal: write error: No space left on device' >&2\nexit 1\n")
    hook.chmod(0o755)
    bench.sync(source.path)
    with pytest.raises(UnavailableError, match="the other side's disk is full"):
        _push(bench, url, served.credential)


def test_what_a_killed_push_left_is_no_hindrance(bench, source, target, served, url):
    bench.sync(source.path)
    _push(bench, url, served.credential)
    (memory,) = (bench.copy.path / "autogit-pushed").glob("*.json")
    memory.with_name(f"{memory.name}.lock").write_text("half")
    source.delete("refs/heads/main")
    source.ref("refs/heads/main", source.commit("other"))
    bench.sync(source.path)
    assert _push(bench, url, served.credential).rejected == {}
    assert _unlike(bench, target) == ()


def test_hidden_refs_are_told_by_name(bench, source, target, served, url):
    target.git("config", "receive.hideRefs", "refs/pull")
    bench.sync(source.path)
    done = _push(bench, url, served.credential, Layout.PLAIN)
    assert done.rejected == {"refs/pull/7/head": "[remote rejected] (deny updating a hidden ref)"}
    assert len(done.pushed) == len(source.refs()) - 1


@pytest.mark.parametrize("lacks", ["receive.advertiseAtomic", "receive.advertisePushOptions"])
def test_a_target_that_can_less_gets_all_the_same(bench, source, target, served, url, lacks):
    target.git("config", lacks, "false")
    bench.sync(source.path)
    assert _push(bench, url, served.credential).rejected == {}
    assert _unlike(bench, target) == ()


def test_more_refs_than_one_command_line_holds(bench, source, target, served, url):
    tip = source.refs()["refs/heads/main"]
    names = [f"refs/tags/release-{number:05d}" for number in range(1100)]
    source.git("update-ref", "--stdin", stdin="".join(f"create {name} {tip}\n" for name in names))
    bench.sync(source.path)
    assert len(_push(bench, url, served.credential).pushed) == len(source.refs())
    assert _unlike(bench, target) == ()


@pytest.mark.parametrize(("fault", "error"), [(401, ProviderAuthError), (403, ProviderAuthError),
                                              (503, UnavailableError), ("cut", UnavailableError)])  # fmt: skip
def test_a_push_that_fails_is_told_and_comes_right_when_repeated(bench, source, target, served, url, fault, error):
    bench.sync(source.path)
    served.fault = lambda path: fault if path.endswith("git-receive-pack") and "info" not in path else None
    with pytest.raises(error):
        _push(bench, url, served.credential)
    served.fault = lambda _path: None
    _push(bench, url, served.credential)
    assert _unlike(bench, target) == ()
