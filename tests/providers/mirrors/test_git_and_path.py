"""A single URL, and repositories of this machine."""

from __future__ import annotations

import os
import subprocess

import pytest

from autogit.errors import MissingError, ProviderAuthError, UsageError


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://git.example.org/team/app.git", "app"),
        ("https://git.example.org:8443/app/", "app"),
        ("http://127.0.0.1:3000/app", "app"),
        ("ssh://git@git.example.org:2222/team/app.git", "app"),
        ("git@git.example.org:team/app.git", "app"),
        ("git@git.example.org:app.git", "app"),
    ],
)
def test_a_url_is_one_repository(ask, look_up, url, path):
    (one,) = ask("git", "", url).repositories
    assert (one.identity, one.path, one.url) == (f"git:{url}", path, url)
    assert look_up("git", "", one.identity, url) == one
    assert look_up("git", "", "git:https://other.test/x.git", url) is None


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch /tmp/x",
        "ext::sh -c id",
        "fd::17/x",
        "https://a.test/b\nc.git",
        "https://a.test/\x1bb.git",
        "https://me:pw@a.test/b.git",
        "https://me@a.test/b.git",
        "ssh://git:pw@a.test/b.git",
        "file:///etc/x",
        "a.test",
        "https:///b.git",
        "https://a.test/",
        "https://a.test/..",
        "https://a.test/b.git?x=1",
        "git@a.test:-x",
        "ssh://-oProxyCommand=id/x",
        "https://[::1/x",
        "git@a.test:",
        "https://a.test:x/b",
    ],
)
def test_what_is_no_url_is_refused(ask, url):
    with pytest.raises(UsageError) as caught:
        ask("git", "", url)
    assert "pw" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.fixture
def make(tmp_path):
    """Make a repository below the folder."""

    def made(path, *arguments):
        place = tmp_path / path
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "init", "--quiet", "--initial-branch=trunk", *arguments, "--", str(place)]
        subprocess.run(command, env=environment, check=True)
        return place

    return made


def test_a_folder_of_bare_repositories(ask, paths, make, tmp_path):
    make("repos/b.git", "--bare")
    make("repos/team/a.git", "--bare")
    make("repos/plain", "--bare")
    (tmp_path / "repos/empty").mkdir()
    (tmp_path / "repos/link.git").symlink_to(tmp_path / "repos/b.git")
    found = ask("path", "", str(tmp_path / "repos"))
    assert paths(found) == ["b", "plain", "team/a"]
    assert found.repositories[0].default_branch == "trunk"
    assert found.repositories[2].url == str(tmp_path / "repos/team/a.git")


def test_globs_and_hostile_names_count_there_too(ask, paths, make, tmp_path):
    for name in ("a", "b", "-x", "sp ace"):
        make(f"repos/{name}.git", "--bare")
    found = ask("path", "", str(tmp_path / "repos"), exclude=("b",))
    assert paths(found) == ["a"]
    assert len(found.notes) == 2


@pytest.mark.parametrize("arguments", [[], ["--bare"]])
def test_a_single_repository(ask, look_up, make, arguments):
    place = make("app.git", *arguments)
    (one,) = ask("path", "", str(place)).repositories
    assert (one.identity, one.path, one.default_branch) == (f"git:{place}", "app", "trunk")
    assert look_up("path", "", one.identity, str(place)) == one
    (place / "HEAD" if arguments else place / ".git/HEAD").unlink()
    assert look_up("path", "", one.identity, str(place)) is None


@pytest.mark.parametrize("path", ["relative", "/a/../b"])
def test_a_path_must_be_whole(ask, path):
    with pytest.raises(UsageError):
        ask("path", "", path)


def test_a_path_that_is_not_there_or_no_folder(ask, tmp_path):
    with pytest.raises(MissingError):
        ask("path", "", str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(ProviderAuthError):
        ask("path", "", str(tmp_path / "file"))


@pytest.mark.parametrize("identity", ["git:/etc", "git:relative", "git:{}/../x"])
def test_nothing_outside_of_the_path_is_looked_at(look_up, tmp_path, identity):
    with pytest.raises(UsageError):
        look_up("path", "", identity.format(tmp_path), str(tmp_path))
