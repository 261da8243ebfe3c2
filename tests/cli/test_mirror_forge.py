"""`autogit mirror` of a forge's group: what is renamed, deleted or made again there is known by its number."""

from __future__ import annotations

import io

import pytest

from tests.cli.test_mirror import _objects, _refs
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab.clients import WorkingCopy, connect, git_url


@pytest.fixture(scope="module")
def forge(tmp_path_factory):
    with FakeGitLab(tmp_path_factory.mktemp("gitlab")) as fake:
        yield fake


@pytest.fixture
def team(forge, request, tmp_path):
    """A group of its own with two projects that have commits."""
    group = "".join(letter for letter in request.node.name if letter.isalnum())[:40]
    owner = forge.seed_admin_token(["api"], "owner")
    for name in ("app", "site"):
        forge.seed_project(f"{group}/{name}")
        _push(forge, owner, tmp_path / name, f"{group}/{name}", f"first of {name}")
    return group, connect(forge, owner), owner


def _push(forge, token, folder, path, text):
    copy = WorkingCopy(folder)
    (folder / "file").write_text(text)
    copy.git("add", "file")
    copy.git("commit", "-q", "-m", text)
    copy.git("push", "-q", git_url(forge, path, token), "HEAD:refs/heads/main")


@pytest.fixture
def mirrored(autogit, env, forge, team, monkeypatch):
    """The group, mirrored once with a token that may only read."""
    env("RUNTIME=embedded\n")
    token = forge.seed_admin_token(["read_api", "read_repository"], "mirror")
    monkeypatch.setattr("sys.stdin", io.StringIO(token))
    assert autogit("secrets", "set", "FORGE_TOKEN").code == 0
    words = ["--name", "team", "--server", forge.url, "--credential", "FORGE_TOKEN"]
    assert autogit("mirror", "add", f"gitlab:{team[0]}", *words).code == 0
    assert autogit("mirror", "sync").code == 0
    autogit.token = token
    return autogit


def _views(autogit, *words):
    """Return the repositories by path, without their wikis, which are repositories of their own."""
    found = autogit("mirror", *words, "--format", "json").json()["mirrors"]
    return {one["path"]: one for one in found if not one["path"].endswith(".wiki")}


def test_a_group_is_copied_and_no_token_shows(mirrored, forge, team):
    found = _views(mirrored, "status")
    assert {path: one["state"] for path, one in found.items()} == {"app": "ok", "site": "ok"}
    for path, one in found.items():
        copy = mirrored.root / ".autogit" / "mirrors" / one["folder"]
        assert _objects(copy) == _objects(forge.repository(f"{team[0]}/{path}"))
    files = [path for path in mirrored.root.rglob("*") if path.is_file()]
    assert [path for path in files if mirrored.token.encode() in path.read_bytes()] == []


def test_a_forge_of_which_nothing_is_due_is_not_asked(mirrored, forge):
    forge.requests.clear()
    done = mirrored("mirror", "sync", "--due", "--format", "json")
    assert (done.code, forge.requests) == (0, [])
    assert done.json()["counts"]["ok"] > 0


def test_a_project_that_was_renamed_keeps_its_copy(mirrored, team):
    group, api, _ = team
    before = _views(mirrored, "status")["app"]
    project = api.projects.get(f"{group}/app")
    project.path = "renamed"
    project.save()
    after = _views(mirrored, "sync")
    assert set(after) == {"renamed", "site"}
    assert (after["renamed"]["folder"], after["renamed"]["state"]) == (before["folder"], "ok")


def test_a_project_that_was_made_again_is_never_mirrored_over_the_old_one(mirrored, forge, team, tmp_path):
    group, api, owner = team
    before = _views(mirrored, "status")["app"]
    old = mirrored.root / ".autogit" / "mirrors" / before["folder"]
    kept = (_refs(old), _objects(old))
    project = api.projects.get(f"{group}/app")
    project.delete()
    project.delete(
        query_data={"permanently_remove": True, "full_path": api.projects.get(project.id).path_with_namespace}
    )
    forge.seed_project(f"{group}/app")
    _push(forge, owner, tmp_path / "again", f"{group}/app", "somebody else's")
    done = mirrored("mirror", "sync", "--format", "json")
    states = {one["identity"]: (one["state"], one["folder"]) for one in done.json()["mirrors"] if one["path"] == "app"}
    assert done.code == 1
    assert states[before["identity"]] == ("gone", before["folder"])
    assert len({folder for _, folder in states.values()}) == len(states) == 2
    assert (_refs(old), _objects(old)) == kept


def test_a_token_that_may_not_read_the_list_is_told_with_its_scope_and_nothing_is_gone(mirrored, forge, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(forge.seed_admin_token(["read_repository"], "narrow")))
    assert mirrored("secrets", "set", "FORGE_TOKEN").code == 0
    done = mirrored("mirror", "sync")
    assert done.code == 1
    assert "read_api" in done.out
    assert "4 ok" in done.out


def test_a_forge_that_is_down_is_told_and_proofs_stay(mirrored, forge):
    forge.stop()
    try:
        done = mirrored("mirror", "sync")
    finally:
        forge.start()
    assert done.code == 1
    assert "4 ok" in done.out
    assert mirrored("mirror", "sync").code == 0
