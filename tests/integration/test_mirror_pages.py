"""The pages about mirrors, followed to the letter: each command typed, with the narrowest token that the page names."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes.forges.bitbucket import FakeBitbucket
from tests.fakes.forges.gitea import FakeGitea
from tests.fakes.forges.github import FakeGitHub
from tests.fakes.forges.gitlab_com import FakeGitLabCom
from tests.git_server import GitServer
from tests.pages import HOW_TO, follow, with_programs
from tests.providers.git.conftest import Upstream
from tests.tools import require_tool
from tests.watch import Watch

pytestmark = pytest.mark.integration


LONG_AGO = datetime(2020, 1, 31, tzinfo=UTC)


@dataclass(frozen=True)
class Page:
    """A page, what is replaced in it by the stand-in, and tokens: the least that it names, and narrower ones."""

    name: str
    secret: str
    example: str
    owner: str
    forge: type
    fill: object
    least: object
    narrower: tuple
    with_data: object = None


def _github(forge, owner):
    forge.add_account(owner)
    return [forge.add(owner, "app", visibility="private"), forge.add(owner, "site")]


def _fine_grained(forge, made, **more):
    token = forge.add_token("you", None, made)
    for name, value in more.items():
        setattr(forge.tokens[token], name, value)
    return token


def _gitlab(forge, owner):
    forge.groups.add(owner)
    return [forge.add(f"{owner}/{name}", visibility="private", wiki_enabled=False) for name in ("app", "site")]


def _gitea(forge, owner):
    forge.users.add(owner)
    return [forge.add(owner, name, private=True, has_wiki=False) for name in ("app", "site")]


def _bitbucket(forge, owner):
    forge.workspaces.add(owner)
    return [forge.add(owner, name, is_private=True) for name in ("app", "site")]


PAGES = (
    Page(
        "mirror-github.md", "GITHUB_TOKEN", "github:you", "you", FakeGitHub, _github,
        lambda forge, made: _fine_grained(forge, made, issues=False),
        (
            (lambda forge, made: _fine_grained(forge, made, contents=False), "Contents: Read-only"),
            (lambda forge, made: _fine_grained(forge, made, expires=LONG_AGO), "the token expired on 2020-01-31"),
            (lambda forge, _: forge.add_token("you", ("public_repo",)), "the token lacks the scope repo"),
        ),
        _fine_grained,
    ),
    Page(
        "mirror-gitlab-com.md", "GITLAB_COM_TOKEN", "gitlab:group/subgroup", "group/subgroup", FakeGitLabCom, _gitlab,
        lambda forge, _: forge.add_token("read_api", "read_repository"),
        (
            (lambda forge, _: forge.add_token("read_api"), "read_repository"),
            (lambda forge, _: forge.add_token(ended="Token is expired. You can either"), "the token has expired"),
            (lambda forge, _: forge.add_token("read_repository"), "the token lacks the scope api or read_api"),
        ),
    ),
    Page(
        "mirror-gitea.md", "GITEA_TOKEN", "gitea:you", "you", FakeGitea, _gitea,
        lambda forge, _: forge.add_token("you", ("read:repository", "read:user")),
        (
            (lambda forge, _: forge.add_token("you", ("read:user",)), "the token lacks the scope read:repository"),
            (lambda forge, _: forge.add_token("you", ("read:repository",)), "the token lacks the scope read:user"),
        ),
        lambda forge, _: forge.add_token("you", ("read:repository", "read:user", "read:issue")),
    ),
    Page(
        "mirror-bitbucket.md", "BITBUCKET_TOKEN", "bitbucket:workspace", "workspace", FakeBitbucket, _bitbucket,
        lambda forge, _: forge.add_token("repository"),
        (
            (lambda forge, _: forge.add_token("account"), "the token lacks the scope repository"),
            (
                lambda forge, _: f"me@example.org:{forge.add_token('read:user:bitbucket', email='me@example.org')}",
                "the token lacks the scope read:repository:bitbucket",
            ),
        ),
    ),
)  # fmt: skip


@dataclass
class Place:
    """A project folder, and a forge with two repositories that a rule may be about."""

    page: Page
    root: Path
    environ: dict
    forge: object
    made: list
    git: GitServer

    def run(self, *words, typed=""):
        return subprocess.run(
            [sys.executable, "-m", "autogit", *words],
            cwd=self.root, env=self.environ, input=typed, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def follow(self, token):
        page, server = self.page, self.forge.url
        example = {page.example: f"{page.example} --server {server}"}
        if page.forge is FakeGitea:
            example = {"https://codeberg.org": server}
        given = {f"autogit secrets set {page.secret}": f"{token}\n"}
        if page.with_data:
            data_secret = page.secret.replace("_TOKEN", "_DATA_TOKEN")
            given[f"autogit secrets set {data_secret}"] = page.with_data(self.forge, self.made)
        return follow(page.name, self.root, self.environ, examples=example, given=given)


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def place(request, tmp_path):
    page, home, root = request.param, tmp_path / "home", tmp_path / "project"
    for folder in (home, root, tmp_path / "tmp"):
        folder.mkdir()
    (root / ".env").write_text("RUNTIME=embedded\n")
    for name in ("app", "site"):
        upstream = Upstream(tmp_path / "git" / page.owner / f"{name}.git")
        upstream.ref("refs/heads/main", upstream.commit(f"first of {name}"))
    programs = f"{Path(require_tool('git-lfs')).parent}:{os.environ['PATH']}"
    environ = {"PATH": programs, "HOME": str(home), "TMPDIR": str(tmp_path / "tmp")}
    environ = with_programs(environ, tmp_path / "bin")
    forge = page.forge()
    git = GitServer(tmp_path / "git")
    with forge.with_code(git):
        made = page.fill(forge, page.owner)
        forge.data = {made[0]: {"issues": [{"id": 1, "title": "x"}], "releases": [{"id": 2, "tag_name": "v1"}]}}
        yield Place(page, root, environ, forge, made, git)


def test_a_page_works_as_it_says_with_the_narrowest_token(place):
    printed = place.follow(place.page.least(place.forge, place.made))
    assert "2 ok; repositories: 2" in printed["autogit mirror status"]
    if place.page.forge is not FakeBitbucket:
        assert "2 ok; repositories: 2" in printed["autogit mirror sync with-data"]
        folder = place.root / ".autogit" / "mirrors" / "with-data" / "app.data"
        lists = {kind: json.loads((folder / f"{kind}.json").read_text()) for kind in ("issues", "releases")}
        assert [len(entries) for entries in lists.values()] == [1, 1]
    view = json.loads(place.run("mirror", "status", "--format", "json").stdout)
    assert {one["path"]: (one["state"], one["refs"]) for one in view["mirrors"]} == {
        "app": ("ok", 1),
        "site": ("ok", 1),
    }


def test_a_narrower_token_is_told_what_it_lacks_and_nothing_is_lost(place):
    place.follow(place.page.least(place.forge, place.made))
    for make, lacking in place.page.narrower:
        assert place.run("secrets", "set", place.page.secret, typed=make(place.forge, place.made)).returncode == 0
        done = place.run("mirror", "sync")
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert lacking in said, said
        assert "Traceback" not in said
    view = json.loads(place.run("mirror", "status", "--format", "json").stdout)
    assert {one["path"]: one["refs"] for one in view["mirrors"]} == {"app": 1, "site": 1}


def test_what_a_page_says_of_faults_is_what_autogit_says(place):
    """A wrong token gets the first sentence of the page's table."""
    first = (HOW_TO / place.page.name).read_text().partition("| What is said |")[2].splitlines()[2].split("`")[1]
    place.follow(place.page.least(place.forge, place.made))
    place.run("secrets", "set", place.page.secret, typed="made-up-token")
    done = place.run("mirror", "sync")
    assert done.returncode == 1
    assert first in done.stdout, done.stdout


LARGE = b"a large file" * 1000


def _store_large_file(place, name):
    """Put a commit with an LFS object into a repository."""
    oid = hashlib.sha256(LARGE).hexdigest()
    upstream = object.__new__(Upstream)
    upstream.path = place.git.root / place.page.owner / f"{name}.git"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(LARGE)}\n"
    upstream.ref("refs/heads/large", upstream.commit(pointer))
    place.git.lfs[f"{place.page.owner}/{name}.git"] = {oid: LARGE}
    return oid


def _forms(place, token):
    """Every text by which a token could show: alone, and as the headers and logins that are made of it."""
    secret = token.rpartition(":")[2]
    users = ("x-access-token", "oauth2", "autogit", "x-token-auth", "x-bitbucket-api-token-auth", "me@example.org")
    pairs = [base64.b64encode(f"{user}:{secret}".encode()) for user in users]
    return secret.encode(), *pairs


def _holding(folder, secrets):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_a_token_is_in_the_encrypted_store_and_nowhere_else(place):
    """While git and git-lfs fetch, after it went well, after the token was refused, and with --debug."""
    token = place.page.least(place.forge, place.made)
    secrets = _forms(place, token)
    oid = _store_large_file(place, "app")
    assert place.run("secrets", "set", place.page.secret, typed=token).returncode == 0
    server = ["--server", place.forge.url]
    said = [place.run("mirror", "add", place.page.example, *server, "--credential", place.page.secret)]
    with Watch(*secrets) as watch:
        said.append(place.run("mirror", "sync"))
        said.append(place.run("mirror", "verify", "--debug"))
    assert [one.returncode for one in said] == [0, 0, 0], said[-1].stdout + said[-1].stderr
    assert any(program.endswith("git-lfs") for program in watch.programs), "nothing was seen while git was at work"
    place.forge.tokens.clear()
    said += [place.run("mirror", *words) for words in (["sync", "--debug"], ["status", "-v"], ["list"])]
    assert said[3].returncode == 1
    assert watch.found == []
    assert [one.args for one in said if any(secret.decode() in one.stdout + one.stderr for secret in secrets)] == []
    assert list(place.root.rglob(oid)), "the large file is not there"
    assert (place.root / ".autogit" / "audit.jsonl").exists()
    for folder in (place.root, place.root.parent / "home"):
        assert _holding(folder, secrets) == []
    assert list((place.root.parent / "tmp").iterdir()) == []


@pytest.mark.parametrize("place", PAGES[:1], ids=["git"], indirect=True)
def test_the_token_of_a_plain_url_is_nowhere_either(place):
    """The same for a repository that is named by its address alone, with a user name and a password."""
    token = "canary-55d1c3"
    place.forge.opens = lambda user, password: (user, password) == ("ana", token)
    secrets = (token.encode(), base64.b64encode(f"ana:{token}".encode()))
    place.run("secrets", "set", "GIT_LOGIN", typed=f"ana:{token}")
    said = [place.run("mirror", "add", f"{place.git.url}/you/app.git", "--credential", "GIT_LOGIN")]
    with Watch(*secrets) as watch:
        said.append(place.run("mirror", "sync", "--debug"))
    assert said[1].returncode == 0, said[1].stderr
    assert watch.found == []
    assert [one.args for one in said if token in one.stdout + one.stderr] == []
    assert _holding(place.root, secrets) == []
