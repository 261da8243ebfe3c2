"""A bare copy: everything that the source shows, and nothing lost of what it showed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from autogit.errors import ApplyLockHeldError, MissingError, RejectedError, UnavailableError
from autogit.providers.git.bare import BareCopy, Reading
from tests.providers.git.conftest import NOW, Upstream


def test_a_copy_has_every_ref_object_and_head(bench, source):
    source.ref("refs/autogit/backup/x", source.refs()["refs/heads/main"])
    done = bench.sync(source.path)
    assert bench.unlike(source.path) == ()
    assert len(done.created) == len(source.refs()) - 1
    assert set(bench.copied("rev-list", "--objects", "--all", "--no-object-names").splitlines()) == source.objects()
    assert bench.copied("cat-file", "-t", "refs/tags/v1") == "tag"
    assert not bench.sync(source.path).changed


def test_a_copy_over_http_and_the_next_changes(bench, source, served):
    url = f"{served.url}/source.git"
    bench.sync(url, credential=served.credential)
    source.ref("refs/heads/main", source.commit("third", source.refs()["refs/heads/main"]))
    source.ref("refs/heads/new", source.commit("new"))
    done = bench.sync(url, credential=served.credential)
    assert (done.created, done.updated, done.deleted, done.saved) == (("refs/heads/new",), ("refs/heads/main",), (), ())
    assert bench.unlike(url, served.credential) == ()


def test_a_server_of_the_old_protocol_is_read_as_well(bench, source, served):
    served.speaks_version_2 = False
    url = f"{served.url}/source.git"
    bench.sync(url, credential=served.credential)
    source.ref("refs/heads/main", source.commit("garbage"))
    source.ref("refs/pull/8/head", source.commit("another"))
    bench.sync(url, credential=served.credential)
    assert bench.unlike(url, served.credential) == ()


def test_who_clones_a_copy_sees_what_the_source_shows_and_what_was_restored(bench, source):
    bench.sync(source.path)
    source.ref("refs/heads/main", source.commit("garbage"))
    bench.sync(source.path)
    restored = asyncio.run(bench.copy.restore("refs/heads/main")).ref
    assert bench.advertise(bench.copy.path).refs.keys() == {*source.refs(), restored}


def test_what_was_replaced_or_deleted_is_kept_and_comes_back(bench, source):
    bench.sync(source.path)
    old = source.refs()
    source.ref("refs/heads/main", source.commit("garbage"))
    source.delete("refs/heads/topic/a")
    source.git("tag", "-f", "light", "refs/heads/main")
    done = bench.sync(source.path)
    assert set(done.saved) == {
        f"refs/autogit/backup/2026-11-27/081500/{name}" for name in ("heads/main", "heads/topic/a", "tags/light")
    }
    assert bench.unlike(source.path) == ()
    restored = asyncio.run(bench.copy.restore("refs/heads/main", date="2026-11-27"))
    assert restored == asyncio.run(bench.copy.restore("refs/autogit/backup/2026-11-27/081500/heads/main"))
    assert bench.copied("rev-parse", restored.ref) == old["refs/heads/main"]
    assert restored.target == "refs/heads/autogit-restored/2026-11-27-081500/main"
    bench.sync(source.path, now=NOW + timedelta(days=1))
    assert bench.copied("rev-parse", restored.ref) == old["refs/heads/main"]
    assert bench.unlike(source.path) == ()
    asyncio.run(bench.copy.forget_restored(restored.ref))
    with pytest.raises(MissingError, match="no backup"):
        asyncio.run(bench.copy.restore("refs/heads/never"))


def test_backups_of_one_second_do_not_replace_each_other(bench, source):
    for text in ("a", "b", "c"):
        source.ref("refs/heads/main", source.commit(text))
        bench.sync(source.path)
    kept = asyncio.run(bench.copy.backups())
    assert [bench.copied("log", "-1", "--format=%s", one.object_id) for one in kept] == ["a", "b"]
    assert len({one.at for one in kept}) == 2


def test_old_backups_are_forgotten_and_their_objects_go(bench, source):
    bench.sync(source.path)
    source.ref("refs/heads/main", source.commit("garbage"))
    bench.sync(source.path)
    assert asyncio.run(bench.copy.prune_backups(NOW)) == ()
    assert len(asyncio.run(bench.copy.prune_backups(NOW + timedelta(seconds=1)))) == 1
    asyncio.run(bench.copy.maintain())
    asyncio.run(bench.copy.maintain(full=True))
    asyncio.run(bench.copy.verify())
    assert bench.unlike(source.path) == ()


def test_a_branch_gives_way_to_a_folder_of_its_name_and_back(bench, source):
    bench.sync(source.path)
    tip = source.refs()["refs/heads/main"]
    source.delete("refs/heads/topic/a")
    source.ref("refs/heads/topic", tip)
    assert len(bench.sync(source.path).saved) == 1
    source.delete("refs/heads/topic")
    source.ref("refs/heads/topic/b", tip)
    bench.sync(source.path)
    assert bench.unlike(source.path) == ()


def test_names_that_differ_by_case_are_two(bench, source):
    source.ref("refs/heads/Main", source.commit("other"))
    bench.sync(source.path)
    assert bench.unlike(source.path) == ()
    assert not [path for path in (bench.copy.path / "refs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_an_empty_source_of_either_format_and_its_first_commit(bench, object_format):
    source = bench.upstream("empty.git", f"--object-format={object_format}")
    assert not bench.sync(source.path).changed
    assert bench.unlike(source.path) == ()
    assert asyncio.run(bench.copy.object_format()) == object_format
    source.ref("refs/heads/main", source.commit("first"))
    bench.sync(source.path)
    assert bench.unlike(source.path) == ()


def test_an_empty_source_made_anew_in_the_other_format_is_followed(bench):
    bench.sync(bench.upstream("old.git").path)
    source = bench.upstream("new.git", "--object-format=sha256")
    source.ref("refs/heads/main", source.commit("first"))
    bench.sync(source.path)
    assert bench.unlike(source.path) == ()


def test_head_follows_wherever_it_points(bench, source):
    for head in (("symbolic-ref", "HEAD", "refs/heads/topic/a"), ("symbolic-ref", "HEAD", "refs/heads/unborn"),
                 ("update-ref", "--no-deref", "HEAD", source.refs()["refs/tags/light"])):  # fmt: skip
        source.git(*head)
        bench.sync(source.path)
        assert bench.unlike(source.path) == ()


def test_a_detached_head_that_no_ref_holds_is_copied_and_kept(bench, source):
    alone = source.commit("on no branch", source.refs()["refs/heads/main"])
    next_one = source.commit("the next", alone)
    other = source.commit("elsewhere")
    for head, saved in ((alone, 0), (next_one, 0), (other, 1), ("refs/heads/main", 1)):
        if head.startswith("refs/"):
            source.git("symbolic-ref", "HEAD", head)
        else:
            source.git("update-ref", "--no-deref", "HEAD", head)
        assert len(bench.sync(source.path).saved) == saved
        assert bench.unlike(source.path) == ()
        bench.copied("fsck", "--connectivity-only")
    assert {one.object_id for one in asyncio.run(bench.copy.backups())} == {next_one, other}


def test_a_source_that_shows_nothing_any_more_does_not_empty_the_copy(bench, source):
    bench.sync(source.path)
    before = source.refs()
    for name in before:
        source.delete(name)
    with pytest.raises(RejectedError, match="shows no refs any more"):
        bench.sync(source.path)
    assert len(asyncio.run(bench.copy.advertisement()).refs) == len(before)
    assert len(bench.sync(source.path, allow_empty=True).saved) == len(before)


def test_a_source_made_anew_in_the_other_format_is_not_mixed_in(bench, source):
    bench.sync(source.path)
    other = bench.upstream("other.git", "--object-format=sha256")
    other.ref("refs/heads/main", other.commit("x"))
    with pytest.raises(RejectedError, match="sha256"):
        bench.sync(other.path)


def test_a_shallow_copy_made_by_hand_becomes_whole(bench, source):
    (bench.root / "x").mkdir()
    Upstream.git(source, "clone", "--quiet", "--mirror", "--depth=1", f"file://{source.path}", str(bench.copy.path))
    assert (bench.copy.path / "shallow").exists()
    bench.sync(source.path)
    assert not (bench.copy.path / "shallow").exists()
    assert set(bench.copied("rev-list", "--objects", "--all", "--no-object-names").splitlines()) == source.objects()


def test_two_syncs_at_once_one_waits_or_refuses(bench, source):
    bench.sync(source.path)
    source.ref("refs/heads/new", source.commit("new"))
    seen = bench.advertise(source.path)

    async def both(wait):
        first, second = (BareCopy(bench.copy.path, bench.git, wait_seconds=wait) for _ in range(2))
        async with first.lock():
            other = asyncio.create_task(second.fetch(seen, Reading(str(source.path)), NOW))
            done, _ = await asyncio.wait([other], timeout=0.2)
            assert bool(done) is (wait == 0)
        return await other

    with pytest.raises(ApplyLockHeldError, match=r"copy\.git is being worked on"):
        asyncio.run(both(0))
    assert asyncio.run(both(20)).created == ("refs/heads/new",)


def test_what_a_killed_git_left_is_swept_up(bench, source):
    bench.sync(source.path)
    (bench.copy.path / "autogit.lock").write_text("1")
    left = ["packed-refs.lock", "HEAD.lock", "objects/pack/tmp_pack_x", "objects/pack/pack-1.keep"]
    for name in left:
        (bench.copy.path / name).write_text("x")
    source.ref("refs/heads/main", source.commit("garbage"))
    bench.sync(source.path)
    assert bench.unlike(source.path) == ()
    assert not [name for name in left if (bench.copy.path / name).exists()]


def test_a_source_that_changed_since_it_was_read_changes_nothing(bench, source):
    bench.sync(source.path)
    lost = source.ref("refs/heads/main", source.commit("gone at once"))
    seen = bench.advertise(source.path)
    source.ref("refs/heads/main", source.commit("the next"))
    source.git("prune", "--expire=now")
    before = asyncio.run(bench.copy.refs())
    with pytest.raises(UnavailableError, match="changed while it was read"):
        asyncio.run(bench.copy.fetch(seen, Reading(str(source.path)), NOW))
    assert asyncio.run(bench.copy.refs()) == before
    assert lost not in before.values()


@pytest.mark.parametrize(
    "name", ["refs/heads/../x", "refs/heads/a\nb", "HEADS", "refs/heads/a.lock", "refs/heads/v1/x"]
)
def test_hostile_ref_names_are_refused(bench, source, name):
    bench.sync(source.path)
    seen = bench.advertise(source.path)
    tip = seen.refs["refs/heads/main"]
    hostile = type(seen)({**seen.refs, "refs/heads/v1": tip, name: tip}, seen.head)
    with pytest.raises(RejectedError):
        asyncio.run(bench.copy.fetch(hostile, Reading(str(source.path)), NOW))


@pytest.mark.parametrize("object_id", ["", "--all", "0" * 39, "G" * 40, "0" * 40 + "\n^x", "0" * 64])
def test_hostile_ids_are_refused_and_a_hostile_head_leads_nowhere(bench, source, object_id):
    seen = bench.advertise(source.path)
    hostile = type(seen)({**seen.refs, "refs/heads/x": object_id}, seen.head)
    with pytest.raises(RejectedError, match="no sha1 id"):
        asyncio.run(bench.copy.fetch(hostile, Reading(str(source.path)), NOW))
    hostile = type(seen)(seen.refs, "../../x\n[core]")
    asyncio.run(bench.copy.fetch(hostile, Reading(str(source.path)), NOW))
    assert asyncio.run(bench.copy.advertisement()).head == ""


def test_a_malicious_gitmodules_is_content_only(bench, source):
    text = '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch /tmp/owned"\n\tupdate = !touch /tmp/owned\n'
    blob = source.git("hash-object", "-w", "--stdin", stdin=text)
    tree = source.git("mktree", stdin=f"100644 blob {blob}\t.gitmodules\n")
    source.ref("refs/heads/main", source.git("commit-tree", tree, stdin="x"))
    bench.sync(source.path)
    assert bench.unlike(source.path) == ()
