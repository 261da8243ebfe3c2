"""Releases, issues and merge requests as data: kept beside the copy, never lost, never outside of their folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from dataclasses import dataclass

import pytest

from tests.fakes.forges.bitbucket import FakeBitbucket
from tests.fakes.forges.gitea import FakeGitea
from tests.fakes.forges.github import FakeGitHub
from tests.fakes.forges.gitlab_com import FakeGitLabCom
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab.clients import WorkingCopy, connect, git_url
from tests.git_server import GitServer
from tests.providers.git.conftest import Upstream

FILE = b"a program " * 5000


@dataclass
class World:
    """A forge with one repository, `you/app`, its data, and the project that mirrors it."""

    kind: str
    forge: object
    made: int
    project: object
    git: GitServer

    @property
    def folder(self):
        return self.project.root / ".autogit" / "mirrors" / "m" / "app.data"

    @property
    def data(self):
        return self.forge.data.setdefault(self.made, {})

    def sync(self):
        return self.project("mirror", "sync")

    def entries(self, kind):
        return json.loads((self.folder / f"{kind}.json").read_text())

    def release(self, number, tag, name, body):
        """Give the forge a release with one file."""
        release = {"id": number, "tag_name": tag, "name": tag, "body": "news"}
        if self.kind == "github":
            self.forge.files[number] = body
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            asset = {"id": number, "name": name, "state": "uploaded", "size": len(body), "digest": digest}
            release["assets"] = [{**asset, "updated_at": f"2026-11-{len(body) % 28 + 1:02d}T00:00:00Z"}]
        elif self.kind == "gitea":
            made = str(uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(body).hexdigest()))
            self.forge.files[made] = body
            asset = {"id": number, "uuid": made, "name": name, "size": len(body)}
            release["assets"] = [{**asset, "created_at": "2026-11-02T10:00:00Z", "browser_download_url": "http://x/"}]
        else:
            path = f"/api/v4/projects/{self.made}/packages/generic/p/{number}/file"
            self.forge.files[path] = body
            del release["id"]
            links = [{"id": number, "name": name, "url": f"{self.forge.url}{path}", "link_type": "other"}]
            release["assets"] = {"links": links, "sources": [{"format": "zip", "url": f"{self.forge.url}/app.zip"}]}
        self.data.setdefault("releases", []).append(release)
        return release


def _github(forge):
    forge.add_account("you")
    return forge.add("you", "app", visibility="private"), forge.add_token("you")


def _gitlab(forge):
    forge.groups.add("you")
    return forge.add("you/app", wiki_enabled=False), forge.add_token()


def _gitea(forge):
    forge.users.add("you")
    scopes = ("read:repository", "read:user", "read:issue")
    return forge.add("you", "app", has_wiki=False), forge.add_token("you", scopes)


KINDS = {"github": (FakeGitHub, _github), "gitlab": (FakeGitLabCom, _gitlab), "gitea": (FakeGitea, _gitea)}


@pytest.fixture(params=KINDS)
def world(request, autogit, env, tmp_path, monkeypatch):
    kind, (forge, fill) = request.param, KINDS[request.param]
    env("RUNTIME=embedded\n")
    upstream = Upstream(tmp_path / "git" / "you" / "app.git")
    upstream.ref("refs/heads/main", upstream.commit("first"))
    forge, git = forge(), GitServer(tmp_path / "git")
    with forge.with_code(git):
        made, token = fill(forge)
        monkeypatch.setattr("sys.stdin", io.StringIO(token))
        assert autogit("secrets", "set", "FORGE_TOKEN").code == 0
        words = ["--name", "m", "--server", forge.url, "--credential", "FORGE_TOKEN", "--releases", "--issues"]
        assert autogit("mirror", "add", f"{kind}:you", *words).code == 0
        yield World(kind, forge, made, autogit, git)
        assert forge.unknown_parameters == []


github_only = pytest.mark.parametrize("world", ["github"], indirect=True)


def _fill(world, issues=3):
    world.release(1, "v1", "app.tar.gz", FILE)
    world.release(2, "v2/beta", "app.tar.gz", FILE * 2)
    word = {"gitlab": "merge_requests"}.get(world.kind, "pulls")
    world.data["issues"] = [{"id": 10 + number, "title": f"issue {number}"} for number in range(issues)]
    world.data[word] = [{"id": 5000, "title": "please", "state": "merged"}]
    if world.kind == "github":
        world.data["issues"].append({"id": 9000, "pull_request": {}, "state": "closed"})


def _files(world):
    return sorted(path for path in (world.folder / "assets").rglob("*") if path.is_file())


def test_all_of_it_is_there_in_a_fixed_order_and_a_second_sync_changes_nothing(world):
    _fill(world, issues=230)
    done = world.sync()
    assert done.code == 0, done.out + done.err
    assert [one["tag_name"] for one in world.entries("releases")] == ["v1", "v2/beta"]
    assert [one["id"] for one in world.entries("issues")] == [10 + number for number in range(230)]
    assert [one["id"] for one in world.entries("merge_requests")] == [5000]
    assert [path.read_bytes() for path in _files(world)] == [FILE, FILE * 2]
    before = {path: path.stat().st_mtime_ns for path in world.folder.rglob("*") if path.is_file()}
    world.forge.asked.clear()
    assert world.sync().code == 0
    assert {path: path.stat().st_mtime_ns for path in world.folder.rglob("*") if path.is_file()} == before
    fetched = [asked.path for asked in world.forge.asked if "assets" in asked.path or "attachments" in asked.path]
    assert fetched == []
    if world.kind == "gitlab":  # a link tells neither size nor time: asked for with its ETag, and not sent
        assert world.forge.statuses[-2:] == [304, 304]


def test_what_the_source_deletes_stays_and_is_marked(world):
    _fill(world)
    world.sync()
    release = world.data["releases"].pop(0)
    del world.data["issues"][1]
    assert world.sync().code == 0
    marked = {one["tag_name"]: "deleted_at_source" in one for one in world.entries("releases")}
    assert marked == {"v1": True, "v2/beta": False}
    assert [one["id"] for one in world.entries("issues") if "deleted_at_source" in one] == [11]
    assert len(_files(world)) == 2
    world.data["releases"].insert(0, {**release, "deleted_at_source": "never"})
    assert world.sync().code == 0
    assert [one for one in world.entries("releases") if "deleted_at_source" in one] == []


def test_a_file_that_was_replaced_is_fetched_and_the_former_one_stays(world):
    _fill(world)
    world.sync()
    world.data["releases"].pop(0)
    world.release(1, "v1", "app.tar.gz", b"something else")
    assert world.sync().code == 0
    found = {path.name: path.read_bytes() for path in _files(world) if path.parent.name == "v1"}
    assert found == {
        "app.tar.gz": b"something else",
        f"app.tar.gz.replaced-{hashlib.sha256(FILE).hexdigest()[:8]}": FILE,
    }


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("../../..", "../../../../owned"),
        ("..", ".."),
        ("/etc", "/tmp/owned"),
        ("a\0b", "-rf"),
        ("v1\n", "\x1b[2Jx"),
        (".git", ".state.json"),
        ("", ""),
        ("x" * 400, "y" * 400),
    ],
)
def test_no_name_leads_out_of_the_folder(world, tag, name):
    world.release(1, tag, name, FILE)
    world.release(2, tag + "2", name, FILE)
    done = world.sync()
    assert done.code == 0, done.out
    assert "\x1b" not in done.out + done.err
    assert {len(path.relative_to(world.folder).parts) for path in _files(world)} == {3}
    outside = [path for path in world.project.root.parent.rglob("*owned*") if not path.is_relative_to(world.folder)]
    assert outside == []


def test_two_files_of_one_name_are_two(world):
    first, second = world.release(1, "v1", "a", b"one"), world.release(2, "v1", "a", b"two")
    world.data["releases"] = [first]
    if world.kind == "gitlab":
        first["assets"]["links"] += second["assets"]["links"]
    else:
        first["assets"] += second["assets"]
    assert world.sync().code == 0
    assert sorted(path.read_bytes() for path in _files(world)) == [b"one", b"two"]


def test_data_that_cannot_be_had_is_told_and_the_proof_of_the_code_stays(world):
    _fill(world)
    world.sync()
    before = {path: path.read_bytes() for path in world.folder.rglob("*.json") if path.name[0] != "."}
    place = {"github": "/api/v3/repos/you/app/issues", "gitea": "/api/v1/repos/you/app/issues"}
    world.forge.fail(502, b"<html>", prefix=place.get(world.kind, f"/api/v4/projects/{world.made}/issues"))
    done = world.sync()
    assert done.code == 1
    assert "1 ok; repositories: 1" in done.out
    assert "m/app: data: " in done.out
    assert {path: path.read_bytes() for path in before} == before
    assert world.sync().code == 0


def test_a_later_page_that_fails_deletes_nothing(world):
    _fill(world, issues=230)
    world.sync()
    size = {"gitea": 50}.get(world.kind, 100)
    before = world.entries("issues")
    world.data["issues"].append({"id": 99999})
    prefix = {"github": "/api/v3/repos/you/app/issues", "gitea": "/api/v1/repos/you/app/issues"}
    world.forge.cut(prefix.get(world.kind, f"/api/v4/projects/{world.made}/issues"), skip=100 // size)
    assert world.sync().code == 1
    assert world.entries("issues") == before


@github_only
def test_a_file_that_comes_in_half_or_as_another_is_not_kept(world):
    _fill(world)
    world.forge.files[1] = FILE[:-1]
    world.forge.files[2] = FILE * 2
    world.data["releases"][1]["assets"][0]["digest"] = "sha256:" + "0" * 64
    done = world.sync()
    assert done.code == 1
    assert f"{len(FILE) - 1} bytes of {len(FILE)} came" in done.out
    assert "is not what its digest says" in done.out
    assert _files(world) == []
    world.forge.files[1] = FILE
    world.sync()
    assert [path.read_bytes() for path in _files(world)] == [FILE]


@github_only
def test_a_file_is_not_fetched_from_another_host(world):
    """GitHub redirects to its stores; whoever writes a release may not lead AutoGit to a host of this network."""
    _fill(world)
    with GitServer(world.git.root) as elsewhere:
        world.forge.store = f"{elsewhere.url}/secret"
        done = world.sync()
        assert elsewhere.requests == []
    assert done.code == 1
    assert "lies at another host, 127.0.0.1: it is not fetched from there" in done.out
    assert _files(world) == []


@pytest.mark.parametrize("world", ["gitlab"], indirect=True)
def test_a_link_to_another_host_stays_a_link(world):
    release = world.release(1, "v1", "a", FILE)
    with GitServer(world.git.root) as elsewhere:
        release["assets"]["links"] = [{"id": 1, "name": "a", "url": f"{elsewhere.url}/a", "link_type": "other"}]
        assert world.sync().code == 0
        assert elsewhere.requests == []
    assert world.entries("releases")[0]["assets"]["links"][0]["url"].endswith("/a")


@github_only
def test_a_token_without_the_permission_is_told_which(world, monkeypatch):
    _fill(world)
    token = world.forge.add_token("you", None, [world.made])
    world.forge.tokens[token].issues = False
    monkeypatch.setattr("sys.stdin", io.StringIO(token))
    world.project("secrets", "set", "FORGE_TOKEN")
    done = world.sync()
    assert done.code == 1
    assert "the token lacks the permission issues: read" in done.out
    assert len(_files(world)) == 2


@github_only
def test_a_limit_ends_the_data_of_this_sync_and_is_told_once(world):
    _fill(world)
    world.forge.fail(429, {"message": "slow down"}, prefix="/api/v3/repos", times=9, Retry_After="120")
    done = world.sync()
    assert done.code == 1
    assert done.out.count("asked too often") == 1
    assert "1 ok" in done.out


@github_only
def test_a_damaged_list_is_told_and_nothing_is_written_over_it(world):
    _fill(world)
    world.sync()
    (world.folder / "issues.json").write_text("{half")
    (world.folder / ".state.json").write_text("[]")
    done = world.sync()
    assert done.code == 1
    assert "issues.json cannot be read as JSON" in done.out
    assert (world.folder / "issues.json").read_text() == "{half"
    (world.folder / "issues.json").unlink()
    assert world.sync().code == 0
    assert len(world.entries("issues")) == 3


@github_only
def test_no_token_is_in_the_data(world):
    _fill(world)
    token = next(iter(world.forge.tokens)).encode()
    world.sync()
    assert [path for path in world.folder.rglob("*") if path.is_file() and token in path.read_bytes()] == []
    assert oct(world.folder.stat().st_mode & 0o77) == "0o0"
    assert os.environ.get("FORGE_TOKEN") is None


def test_it_is_so_at_the_full_stand_in_for_gitlab_too(autogit, env, tmp_path, monkeypatch):
    env("RUNTIME=embedded\n")
    with FakeGitLab(tmp_path / "gitlab") as gitlab:
        owner = gitlab.seed_admin_token(["api"], "owner")
        gitlab.seed_project("team/app")
        project = connect(gitlab, owner).projects.get("team/app")
        copy = WorkingCopy(tmp_path / "work")
        copy.git("commit", "-q", "--allow-empty", "-m", "first")
        copy.git("push", "-q", git_url(gitlab, "team/app", owner), "HEAD:refs/heads/main")
        for number in range(3):
            project.issues.create({"title": f"issue {number}"})
        project.releases.create({"tag_name": "v1", "ref": "main", "name": "one", "description": "news"})
        monkeypatch.setattr(
            "sys.stdin", io.StringIO(gitlab.seed_admin_token(["read_api", "read_repository"], "mirror"))
        )
        autogit("secrets", "set", "FORGE_TOKEN")
        words = ["--name", "m", "--server", gitlab.url, "--credential", "FORGE_TOKEN", "--releases", "--issues"]
        assert autogit("mirror", "add", "gitlab:team", *words).code == 0
        done = autogit("mirror", "sync")
        assert done.code == 0, done.out
        assert gitlab.unknown_parameters == []
    folder = autogit.root / ".autogit" / "mirrors" / "m" / "app.data"
    titles = [one["title"] for one in json.loads((folder / "issues.json").read_text())]
    assert titles == ["issue 0", "issue 1", "issue 2"]
    assert [one["tag_name"] for one in json.loads((folder / "releases.json").read_text())] == ["v1"]


def test_bitbucket_has_none_and_it_is_said(autogit, env, tmp_path, monkeypatch):
    env("RUNTIME=embedded\n")
    upstream = Upstream(tmp_path / "git" / "you" / "app.git")
    upstream.ref("refs/heads/main", upstream.commit("first"))
    forge = FakeBitbucket()
    with forge.with_code(GitServer(tmp_path / "git")):
        forge.workspaces.add("you")
        forge.add("you", "app")
        monkeypatch.setattr("sys.stdin", io.StringIO(forge.add_token()))
        autogit("secrets", "set", "FORGE_TOKEN")
        words = ["--server", forge.url, "--credential", "FORGE_TOKEN", "--releases"]
        assert autogit("mirror", "add", "bitbucket:you", *words).code == 0
        done = autogit("mirror", "sync")
    assert done.code == 0
    assert "bitbucket has none of the releases and issues that AutoGit can copy" in done.out
