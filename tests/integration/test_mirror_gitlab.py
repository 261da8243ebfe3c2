"""Mirrors into GitLab: projects made, filled and proven; found again by ownership; and everything that may go wrong."""

from __future__ import annotations

import asyncio
import os
from datetime import date, timedelta
from pathlib import Path

import pytest

from autogit.errors import UsageError
from autogit.model.gitlab import TOKEN_SECRET
from autogit.operations import mirror
from tests.integration.mirror_lab import RULE, Lab, put_lfs, run_git
from tests.tools import require_tool
from tests.watch import Watch

pytestmark = pytest.mark.integration


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", str(tmp_path / "keys" / "identity.txt"))
    programs = Path(require_tool("git-lfs")).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with Lab(tmp_path) as lab:
        yield lab
        assert lab.fake.unknown_parameters == []


def _gitlab_names(refs):
    plain = ("refs/heads/", "refs/tags/", "refs/notes/")
    return {n if n.startswith(plain) else f"refs/autogit/{n.removeprefix('refs/')}": one for n, one in refs.items()}


class TestFilling:
    def test_all_of_a_repository_is_in_its_project_and_proven(self, lab):
        app = lab.make("app", refs=("heads/main", "heads/topic", "notes/commits", "pull/7/head", "custom/x"))
        app.git("tag", "-a", "v1", "-m", "one", app.refs()["refs/heads/main"])
        oid = put_lfs(lab, app, "large file")
        lab.add()
        views, view = lab.sync()
        assert (views["app"].state, views["app"].target, view.problems) == ("ok", "mirrors/app", ())
        assert views["app"].target_proven_at
        assert lab.target("mirrors/app") == _gitlab_names(app.refs())
        project = lab.project_of("mirrors/app")
        assert project.lfs == {oid}
        assert project.custom_attributes == {"autogit-mirror": views["app"].identity}

    def test_what_the_source_says_of_itself_is_said_there(self, lab):
        lab.fake.seed_group("mirrors", "public")
        about = {"description": "An\x1b[2J app", "topics": ["one", "two"], "default_branch": "trunk"}
        trunk = lab.make("app", refs=("heads/a", "heads/trunk"), visibility="public", archived=True, **about)
        trunk.git("symbolic-ref", "HEAD", "refs/heads/trunk")
        lab.make("hidden")
        lab.add()
        lab.fine()
        app, hidden = lab.project_of("mirrors/app"), lab.project_of("mirrors/hidden")
        assert (app.visibility, app.archived, hidden.visibility, hidden.archived) == ("public", True, "private", False)
        assert (app.attributes["description"], app.attributes["topics"]) == ("An [2J app", ["one", "two"])
        assert lab.fake.repositories.head(app) == "trunk"
        assert not app.feature("issues")
        trunk.ref("refs/heads/trunk", trunk.commit("more", trunk.refs()["refs/heads/trunk"]))
        lab.fine()
        assert lab.project_of("mirrors/app").archived
        assert lab.target("mirrors/app") == trunk.refs()

    def test_nothing_is_wider_than_its_group(self, lab):
        lab.make("open", visibility="public")
        lab.add(group="team/mirrors")
        lab.fine()
        assert lab.project_of("team/mirrors/open").visibility == "private"

    def test_a_level_that_gitlab_does_not_allow_is_told_and_the_project_is_private(self, lab):
        lab.fake.seed_group("mirrors", "public")
        lab.make("app")
        lab.add()
        lab.fine()
        next(iter(lab.forge.repositories.values())).update(visibility="public", private=False)
        said = {"message": {"visibility_level": ["public has been restricted by your GitLab administrator"]}}
        lab.fake.faults.fail("/api/v4/projects/1", status=400, body=said, method="PUT")
        _, view = lab.sync()
        assert f"{RULE}: mirrors/app is private: GitLab does not allow public projects here" in view.notes
        assert lab.project_of("mirrors/app").visibility == "private"

    def test_a_wiki_is_in_the_projects_wiki(self, lab):
        lab.make("app", has_wiki=True)
        wiki = lab.make("app.wiki", refs=("heads/master",))
        del lab.forge.repositories[max(lab.forge.repositories)]
        lab.add()
        assert lab.fine()["app.wiki"].target == "mirrors/app.wiki"
        assert lab.target("mirrors/app", wiki=True) == wiki.refs()

    def test_odd_ones_come_too(self, lab):
        sha256 = lab.make("sha256", "--object-format=sha256")
        lab.make("empty", refs=())
        lab.make(".github")
        lab.make("tree")
        lab.add()
        views, view = lab.sync()
        assert {path: one.detail for path, one in views.items() if one.state != "ok"} == {}
        assert lab.target("mirrors/sha256") == sha256.refs()
        assert lab.target("mirrors/empty") == {}
        assert {views[".github"].target, views["tree"].target} == {"mirrors/github", "mirrors/tree-mirror"}
        assert f"{RULE}: .github is mirrors/github in GitLab" in view.notes

    def test_bare_copies_only_if_asked_for(self, lab):
        lab.make("app")
        lab.add(bare=True)
        lab.fine()
        assert lab.asked() == []

    def test_the_token_shows_nowhere(self, lab):
        app = lab.make("app")
        put_lfs(lab, app, "large")
        lab.add()
        with Watch(lab.token.encode()) as watch:
            lab.sync()
        assert (watch.found, "git" in {Path(one).name for one in watch.programs}) == ([], True)
        files = [path for path in lab.project.paths.root.rglob("*") if path.is_file()]
        assert [path for path in files if lab.token.encode() in path.read_bytes()] == []


class TestDeclaring:
    def test_where_there_is_a_gitlab_projects_are_made_in_mirrors(self, lab):
        assert lab.add().rules[0].group == "mirrors"

    @pytest.mark.parametrize("options", [{"group": "../x"}, {"group": "-x"}, {"group": "a", "bare": True}])
    def test_a_group_that_cannot_be_is_refused(self, lab, options):
        with pytest.raises(UsageError, match="group"):
            lab.add(**options)
        assert mirror.load_rules(lab.project) == ()


class TestFollowing:
    def test_what_is_proven_costs_one_advertisement_and_no_write(self, lab):
        for name in ("one", "two", "three"):
            lab.make(name)
        lab.add()
        lab.fine()
        lab.asked()
        views, _ = lab.sync()
        asked = lab.asked()
        assert {one.state for one in views.values()} == {"ok"}
        assert sorted(path for _, path in asked if "/info/refs" in path) == [
            f"/mirrors/{name}.git/info/refs" for name in ("one", "three", "two")
        ]
        assert [one for one in asked if one[0] != "GET"] == []
        assert len(asked) == 4, "and the group's projects, a hundred at once"

    def test_a_rewritten_default_branch_goes_through_its_protection_and_comes_back(self, lab):
        app = lab.make("app")
        lab.add()
        lab.fine()
        lost = app.refs()["refs/heads/main"]
        assert lab.project_of("mirrors/app").protected
        app.ref("refs/heads/main", app.commit("garbage"))
        lab.fine()
        assert lab.target("mirrors/app") == app.refs()
        asyncio.run(mirror.restore(lab.project, RULE, "app", "refs/heads/main"))
        lab.fine()
        restored = {one for name, one in lab.target("mirrors/app").items() if "autogit-restored" in name}
        assert restored == {lost}

    def test_what_simply_advanced_leaves_protection_as_it_is(self, lab):
        app = lab.make("app")
        lab.add()
        lab.fine()
        app.ref("refs/heads/main", app.commit("more", app.refs()["refs/heads/main"]))
        lab.fine()
        assert [one["allow_force_push"] for one in lab.project_of("mirrors/app").protected] == [False]

    def test_a_default_branch_that_was_renamed_is_the_default_there(self, lab):
        app = lab.make("app", refs=("heads/main", "heads/topic"))
        lab.add()
        lab.fine()
        app.ref("refs/heads/trunk", app.refs()["refs/heads/main"])
        app.git("symbolic-ref", "HEAD", "refs/heads/trunk")
        app.delete("refs/heads/main")
        lab.fine()
        assert lab.target("mirrors/app") == app.refs()
        assert lab.fake.repositories.head(lab.project_of("mirrors/app")) == "trunk"

    def test_a_default_branch_in_whose_place_a_folder_comes_is_replaced(self, lab):
        app = lab.make("app")
        lab.add()
        lab.fine()
        app.delete("refs/heads/main")
        app.ref("refs/heads/main/x", app.commit("in the folder"))
        app.git("symbolic-ref", "HEAD", "refs/heads/main/x")
        lab.fine()
        assert lab.target("mirrors/app") == app.refs()
        assert lab.fake.repositories.head(lab.project_of("mirrors/app")) == "main/x"

    def test_the_last_branch_stays_there_since_gitlab_deletes_no_default_branch(self, lab):
        app = lab.make("app", refs=("heads/main", "tags/v1"))
        lab.add()
        lab.fine()
        app.delete("refs/heads/main")
        assert lab.fine()["app"].differences == ("refs/heads/main is in GitLab only: it stays",)
        lab.asked()
        lab.fine()
        assert [one for one in lab.asked() if one[0] != "GET"] == []

    def test_a_new_description_is_told_once(self, lab):
        lab.make("app")
        lab.add()
        lab.fine()
        next(iter(lab.forge.repositories.values()))["description"] = "new"
        lab.asked()
        lab.sync()
        assert [one for one in lab.asked() if one[0] == "PUT"] == [("PUT", "/api/v4/projects/1")]
        assert lab.project_of("mirrors/app").attributes["description"] == "new"
        lab.sync()
        assert [one for one in lab.asked() if one[0] == "PUT"] == []

    def test_an_lfs_object_that_gitlab_lost_is_found_by_verify(self, lab):
        app = lab.make("app")
        oid = put_lfs(lab, app, "large")
        lab.add()
        lab.fine()
        lab.project_of("mirrors/app").lfs.clear()
        lab.fine(verify=True)
        assert lab.project_of("mirrors/app").lfs == {oid}


class TestOwnership:
    def test_a_project_of_somebody_else_is_never_written_to(self, lab):
        theirs = lab.fake.seed_project("mirrors/app")
        lab.make("app")
        lab.make("site")
        lab.add()
        views, _ = lab.sync()
        assert (views["app"].state, views["site"].state) == ("failing", "ok")
        assert "there is a project mirrors/app that is not this mirror's" in views["app"].detail
        assert "--group" in views["app"].detail
        assert (lab.target("mirrors/app"), theirs.custom_attributes, theirs.attributes) == ({}, {}, {})

    def test_one_that_was_moved_by_hand_is_followed(self, lab):
        app = lab.make("app", refs=("heads/main", "heads/topic"))
        lab.add()
        lab.fine()
        lab.fake.seed_group("elsewhere")
        project = lab.project_of("mirrors/app")
        with lab.fake.state.lock:
            project.path, project.namespace_id = "renamed", lab.fake.state.find_namespace("elsewhere").id
        app.delete("refs/heads/topic")
        views, view = lab.sync()
        assert (views["app"].state, views["app"].target) == ("ok", "elsewhere/renamed")
        assert f"{RULE}: mirrors/app is elsewhere/renamed in GitLab now" in view.notes
        assert lab.target("elsewhere/renamed") == app.refs()

    def test_one_that_was_deleted_is_made_anew(self, lab):
        app = lab.make("app")
        put_lfs(lab, app, "large")
        lab.add()
        lab.fine()
        lab.fake.delete_project(lab.project_of("mirrors/app"))
        views, view = lab.sync()
        assert views["app"].state == "ok"
        assert lab.target("mirrors/app") == app.refs()
        assert f"{RULE}: project 1 was deleted in GitLab; made anew" in view.notes

    def test_a_source_that_was_made_again_gets_a_project_of_its_own(self, lab):
        app = lab.make("app")
        lab.add()
        before, _ = lab.sync()
        kept = lab.target("mirrors/app")
        lab.forge.repositories.clear()
        app.path.rename(app.path.with_name("old.git"))
        again = lab.make("app", id=77)
        _, view = lab.sync()
        by_identity = {one.identity: one for one in view.mirrors}
        assert by_identity[before["app"].identity].state == "gone"
        new = by_identity["github:77"]
        assert (new.state, new.target.startswith("mirrors/app-")) == ("ok", True)
        assert (lab.target("mirrors/app"), lab.target(new.target)) == (kept, again.refs())

    def test_what_a_killed_run_made_is_taken_over(self, lab):
        app = lab.make("app")
        lab.add()
        lab.fake.faults.fail("/api/v4/projects/1/custom_attributes", status=502, method="PUT")
        assert lab.sync()[0]["app"].state == "failing"
        lab.fine()
        assert lab.target("mirrors/app") == app.refs()

    def test_lost_records_find_their_project_again(self, lab):
        app = lab.make("app")
        lab.add()
        lab.fine()
        for file in lab.project.paths.mirrors.glob("records.sqlite*"):
            file.unlink()
        assert lab.sync()[0]["app"].target == "mirrors/app"
        assert lab.target("mirrors/app") == app.refs()
        assert len(lab.fake.state.projects) == 1

    def test_what_somebody_pushed_there_stays_and_is_told(self, lab):
        app = lab.make("app")
        lab.add()
        lab.fine()
        folder = lab.fake.repository("mirrors/app")
        tree = run_git(folder, "rev-parse", "main^{tree}")
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        own = run_git(folder, *identity, "commit-tree", tree, "-m", "own", "-p", "main")
        run_git(folder, "update-ref", "refs/heads/mine", own)
        views, _ = lab.sync()
        assert (views["app"].state, views["app"].differences) == (
            "ok",
            ("refs/heads/mine is in GitLab only: it stays",),
        )
        run_git(folder, "update-ref", "refs/heads/main", own)
        app.ref("refs/heads/main", app.commit("more", app.refs()["refs/heads/main"]))
        views, _ = lab.sync()
        assert views["app"].state == "failing"
        assert "refs/heads/main: changed at the target by someone else" in views["app"].detail
        assert lab.target("mirrors/app")["refs/heads/main"] == own


class TestFaults:
    def test_gitlab_down_leaves_the_copies_proven(self, lab):
        lab.make("app")
        lab.make("site")
        lab.add()
        lab.fine()
        lab.fake.stop()
        views, _ = lab.sync()
        lab.fake.start()
        assert {one.state for one in views.values()} == {"failing"}
        assert "copied, but: gitlab:" in views["app"].detail
        assert "cannot be reached" in views["app"].detail
        lab.fine()

    @pytest.mark.parametrize(
        ("scopes", "expires_at", "words"),
        [(["read_api"], None, "lacks a scope: this needs api"), (["api"], "2020-01-01", "the token has expired")],
    )
    def test_a_token_that_will_not_do_is_told(self, lab, scopes, expires_at, words):
        day = date.fromisoformat(expires_at) if expires_at else None
        lab.keeper.put(TOKEN_SECRET, lab.fake.seed_admin_token(scopes, "poor", day))
        lab.make("app")
        lab.add()
        assert words in lab.sync()[0]["app"].detail

    def test_no_token_yet(self, lab):
        lab.keeper.put(TOKEN_SECRET, None)
        lab.make("app")
        lab.add()
        assert "autogit gitlab bootstrap" in lab.sync()[0]["app"].detail

    def test_a_full_disk_there_stops_what_needs_room_only(self, lab):
        app = lab.make("app")
        lab.make("site")
        lab.add()
        lab.fine()
        app.ref("refs/heads/main", app.commit("more", app.refs()["refs/heads/main"]))
        lab.fake.faults.disk_full = True
        views, _ = lab.sync()
        assert (views["app"].state, views["site"].state) == ("failing", "ok")
        assert "disk is full" in views["app"].detail
        lab.fake.faults.clear()
        lab.fine()

    def test_an_archived_project_is_archived_again_whatever_happens(self, lab):
        app = lab.make("app", archived=True)
        lab.add()
        lab.fine()
        app.ref("refs/heads/main", app.commit("more", app.refs()["refs/heads/main"]))
        lab.fake.faults.disk_full = True
        assert lab.sync()[0]["app"].state == "failing"
        assert lab.project_of("mirrors/app").archived
        lab.fake.faults.clear()
        lab.fine()
        assert (lab.target("mirrors/app"), lab.project_of("mirrors/app").archived) == (app.refs(), True)

    def test_a_ref_that_gitlab_refuses_is_named_and_all_others_are_there(self, lab):
        bad = f"heads/{'0' * 40}"
        app = lab.make("app", refs=("heads/main", "heads/a", "heads/b", bad, "tags/v1"))
        lab.add()
        views, _ = lab.sync()
        assert views["app"].state == "failing"
        assert f"refs/{bad}" in views["app"].detail
        assert "SHA-1 or SHA-256 branch name" in views["app"].detail
        assert lab.target("mirrors/app") == {name: one for name, one in app.refs().items() if name != f"refs/{bad}"}

    def test_asked_to_wait_it_waits_with_that_one(self, lab):
        lab.make("app")
        lab.add()
        lab.fine()
        lab.fake.faults.throttle_next("/mirrors/app.git", retry_after=700)
        assert "again in 700 s" in lab.sync()[0]["app"].detail
        assert lab.sync(due=True)[0]["app"].state == "failing"
        lab.fine()

    def test_a_cut_push_goes_on_at_the_next_sync(self, lab):
        app = lab.make("app")
        lab.add()
        lab.fake.faults.cut_request("/mirrors/app.git/git-receive-pack", after_bytes=10)
        lab.sync()
        lab.fine()
        assert lab.target("mirrors/app") == app.refs()

    def test_a_project_that_is_not_proven_in_time_is_stale(self, lab):
        lab.make("app")
        lab.add()
        lab.fine()
        lab.later = timedelta(days=2)
        lab.fake.stop()
        views, _ = lab.sync()
        lab.fake.start()
        assert views["app"].state == "stale"
