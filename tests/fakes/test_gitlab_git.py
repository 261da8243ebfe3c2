"""Git and Git LFS against the fake GitLab, with the real clients."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests

from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab.clients import WorkingCopy, connect, git_url, run_git
from tests.fakes.gitlab.state import now
from tests.tools import require_tool


@pytest.fixture
def fake(tmp_path):
    with FakeGitLab(tmp_path / "gitlab") as fake:
        fake.seed_project("team/app")
        yield fake


@pytest.fixture
def url(fake):
    return git_url(fake, "team/app", fake.seed_admin_token(["write_repository"]))


@pytest.fixture
def copy(tmp_path):
    copy = WorkingCopy(tmp_path / "copy")
    copy.commit()
    return copy


@pytest.fixture
def pushed(copy, url):
    copy.git("push", "-q", url, "main")
    return copy


def test_what_is_pushed_can_be_cloned(fake, copy, url, tmp_path):
    copy.git("tag", "-a", "v1", "-m", "one")
    copy.git("notes", "add", "-m", "seen")
    copy.git("push", "-q", url, "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*", "refs/notes/*:refs/notes/*")
    assert run_git(tmp_path, "clone", "-q", "--mirror", url, "mirror").returncode == 0
    theirs = run_git(tmp_path / "mirror", "show-ref").stdout
    assert theirs == copy.git("show-ref") + "\n"
    assert run_git(fake.repository("team/app"), "fsck", "--strict").returncode == 0


def test_clone_speaks_protocol_two(pushed, url, tmp_path):
    done = run_git(tmp_path, "-c", "protocol.version=2", "clone", "-q", url, "c", GIT_TRACE_PACKET="1")
    assert done.returncode == 0
    assert "version 2" in done.stderr


def test_shallow_and_partial_clones(pushed, url, tmp_path):
    pushed.commit(text="more\n")
    pushed.git("push", "-q", url, "main")
    assert run_git(tmp_path, "clone", "-q", "--depth=1", url, "shallow").returncode == 0
    assert run_git(tmp_path / "shallow", "rev-list", "--count", "HEAD").stdout.strip() == "1"
    assert run_git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", url, "partial").returncode == 0


def test_sha256_repository(fake, tmp_path):
    api = connect(fake)
    group = api.groups.get("team")
    api.projects.create({"name": "wide", "namespace_id": group.id, "repository_object_format": "sha256"})
    copy = WorkingCopy(tmp_path / "wide", object_format="sha256")
    commit = copy.commit()
    url = git_url(fake, "team/wide", fake.seed_admin_token())
    copy.git("push", "-q", url, "main")
    assert copy.git("ls-remote", url, "refs/heads/main").split()[0] == commit
    assert len(commit) == 64


def test_first_branch_becomes_the_protected_default(fake, tmp_path, url):
    copy = WorkingCopy(tmp_path / "copy", branch="trunk")
    copy.commit()
    copy.git("push", "-q", url, "trunk")
    project = connect(fake).projects.get("team/app")
    assert (project.default_branch, project.empty_repo) == ("trunk", False)
    assert [one.name for one in project.protectedbranches.list(get_all=True)] == ["trunk"]
    assert "ref: refs/heads/trunk\tHEAD" in copy.git("ls-remote", "--symref", url, "HEAD")


def test_nothing_is_protected_where_the_settings_say_so(fake, copy, url):
    connect(fake).settings.update(None, {"default_branch_protection": 0})
    copy.git("push", "-q", url, "main")
    assert connect(fake).projects.get("team/app").protectedbranches.list(get_all=True) == []


# Refusals


def test_protected_branch_takes_no_force_and_no_deletion(fake, pushed, url):
    pushed.git("push", "-q", url, "main:other")
    pushed.git("commit", "-q", "--amend", "-m", "other words")
    done = pushed.try_git("push", "--force", url, "main")
    assert done.returncode == 1
    text = "remote: GitLab: You are not allowed to force push code to a protected branch on this project."
    assert text in done.stderr
    assert "! [remote rejected] main -> main (pre-receive hook declined)" in done.stderr
    assert "The default branch of a project cannot be deleted." in pushed.try_git("push", url, ":main").stderr
    project = connect(fake).projects.get("team/app")
    project.protectedbranches.create({"name": "oth*"})
    done = pushed.try_git("push", url, ":other")
    assert "GitLab: You can only delete protected branches using the web interface." in done.stderr


def test_force_is_taken_once_allowed(fake, pushed, url):
    rule = connect(fake).projects.get("team/app").protectedbranches.get("main")
    rule.allow_force_push = True
    rule.save()
    pushed.git("commit", "-q", "--amend", "-m", "other words")
    pushed.git("push", "-q", "--force", url, "main")
    assert pushed.git("ls-remote", url, "main").split()[0] == pushed.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    "ref", ["merge-requests/1/head", "keep-around/x", "environments/x", "pipelines/1", "remotes/o/x", "tmp/x"]
)
def test_internal_refs_are_not_taken(pushed, url, ref):
    done = pushed.try_git("push", url, f"main:refs/{ref}")
    assert done.returncode == 1
    assert "(deny updating a hidden ref)" in done.stderr


def test_other_namespaces_are_taken(pushed, url):
    pushed.git("push", "-q", url, "main:refs/pull/1/head", "main:refs/autogit/backup/x", "main:refs/notes/x")
    assert len(pushed.git("ls-remote", url, "refs/pull/*", "refs/autogit/*", "refs/notes/*").splitlines()) == 3


def test_some_names_refuse_the_whole_push(pushed, url):
    sha = pushed.git("rev-parse", "HEAD")
    done = pushed.try_git("push", url, f"main:refs/heads/{sha}", "main:refs/heads/fine")
    assert "You cannot create a branch with a SHA-1 or SHA-256 branch name." in done.stderr
    assert pushed.git("ls-remote", url, "fine") == ""
    assert (
        "You cannot use default branch name to create a tag"
        in pushed.try_git("push", url, "main:refs/tags/main").stderr
    )


def test_archived_project_is_read_only(fake, pushed, url):
    project = connect(fake).projects.get("team/app")
    project.archive()
    pushed.git("ls-remote", url)
    done = pushed.try_git("push", url, "main:new")
    assert done.returncode == 128
    assert "remote: You can't push code to an archived project." in done.stderr
    assert "error: 403" in done.stderr
    project.unarchive()
    pushed.git("push", "-q", url, "main:new")


def test_full_disk_fails_the_push(fake, copy, url):
    fake.faults.disk_full = True
    done = copy.try_git("push", url, "main")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    fake.faults.disk_full = False
    copy.git("push", "-q", url, "main")


def test_broken_objects_are_not_taken(copy, url):
    tree = copy.git("rev-parse", "HEAD^{tree}")
    (copy.folder / "bad").write_text(f"tree {tree}\nauthor A <a> 1 +0000\n\nno committer\n")
    bad = copy.git("hash-object", "-t", "commit", "-w", "--literally", "bad")
    done = copy.try_git("push", url, f"{bad}:refs/heads/main")
    assert done.returncode == 1
    assert "unpack" in done.stderr


def test_push_options_and_atomic_pushes(pushed, url):
    pushed.commit(text="2\n")
    pushed.git("push", "-q", "-o", "ci.skip", url, "main")
    clash = ("main:refs/heads/fine", "main:refs/heads/x", "main:refs/heads/x/y")
    assert pushed.try_git("push", "--atomic", url, *clash).returncode == 1
    assert pushed.git("ls-remote", url, "fine", "x", "x/y") == ""


def test_atomic_does_not_cover_internal_refs(pushed, url):
    """git sets hidden refs aside before it looks at the rest: GitLab runs the same receive-pack."""
    done = pushed.try_git("push", "--atomic", url, "main:refs/heads/a", "main:refs/merge-requests/2/head")
    assert done.returncode == 1
    assert pushed.git("ls-remote", url, "refs/heads/a") != ""


# Who may


def test_challenge_names_the_realm(fake):
    answer = requests.get(f"{git_url(fake, 'team/app')}/info/refs?service=git-upload-pack", timeout=10)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="GitLab"')
    assert answer.text.startswith("HTTP Basic: Access denied.")


def test_public_projects_are_read_by_everybody(fake, copy, tmp_path):
    fake.seed_project("open/app", visibility="public")
    copy.git("push", "-q", git_url(fake, "open/app", fake.seed_admin_token()), "main")
    assert run_git(tmp_path, "clone", "-q", git_url(fake, "open/app"), "c").returncode == 0
    assert "could not read Username" in copy.try_git("push", git_url(fake, "open/app"), "main").stderr


@pytest.mark.parametrize(
    ("scopes", "read", "write"),
    [
        (["api"], 200, 200),
        (["write_repository"], 200, 200),
        (["read_repository"], 200, 403),
        (["read_api"], 200, 403),
        (["read_user"], 403, 403),
    ],
)
def test_scopes(fake, scopes, read, write):
    root = git_url(fake, "team/app", fake.seed_admin_token(scopes), name="anybody")
    for service, status in (("git-upload-pack", read), ("git-receive-pack", write)):
        assert requests.get(f"{root}/info/refs?service={service}", timeout=10).status_code == status


def test_tokens_that_open_nothing(fake):
    expired = fake.seed_admin_token(expires_at=now().date() - timedelta(days=1))
    for token in ("glpat-wrong", expired):
        root = git_url(fake, "team/app", token)
        assert requests.get(f"{root}/info/refs?service=git-upload-pack", timeout=10).status_code == 401


def test_strangers_do_not_learn_what_is_there(fake, tmp_path):
    fake.seed_user("ada")
    done = run_git(tmp_path, "ls-remote", git_url(fake, "team/app", fake.seed_token("ada")))
    assert "The project you were looking for could not be found or you don't have permission to view it." in done.stderr
    fake.add_member("ada", "team/app", 20)
    root = git_url(fake, "team/app", fake.seed_token("ada"))
    assert run_git(tmp_path, "ls-remote", root).returncode == 0
    assert requests.get(f"{root}/info/refs?service=git-receive-pack", timeout=10).status_code == 403


def test_push_makes_a_private_project(fake, copy):
    done = copy.try_git("push", git_url(fake, "team/made", fake.seed_admin_token()), "main")
    assert done.returncode == 0, done.stderr
    assert "The private project team/made was successfully created." in done.stderr
    assert connect(fake).projects.get("team/made").visibility == "private"
    done = copy.try_git("push", git_url(fake, "nowhere/made", fake.seed_admin_token()), "main")
    assert done.returncode == 128


def test_former_path_still_serves(fake, pushed, url):
    project = connect(fake).projects.get("team/app")
    project.path = "renamed"
    project.save()
    pushed.git("ls-remote", url)
    pushed.commit(text="2\n")
    done = pushed.try_git("push", url, "main")
    assert done.returncode == 0
    assert "Project 'team/app' was moved to 'team/renamed'." in done.stderr


def test_address_without_git_is_redirected(fake, pushed, url):
    answer = requests.get(f"{fake.url}/team/app/info/refs?service=git-upload-pack", allow_redirects=False, timeout=10)
    target = f"{fake.url}/team/app.git/info/refs?service=git-upload-pack"
    assert (answer.status_code, answer.headers["Location"]) == (301, target)
    pushed.git("ls-remote", url.removesuffix(".git"))


def test_wiki_is_a_repository_of_its_own(fake, tmp_path, url):
    copy = WorkingCopy(tmp_path / "wiki", branch="master")
    copy.commit("home.md")
    wiki = f"{url.removesuffix('.git')}.wiki.git"
    copy.git("push", "-q", wiki, "master")
    assert "ref: refs/heads/master\tHEAD" in copy.git("ls-remote", "--symref", wiki, "HEAD")
    assert fake.repository("team/app", wiki=True).is_dir()
    fake.seed_project("team/dry", wiki_enabled=False)
    done = copy.try_git("ls-remote", git_url(fake, "team/dry.wiki", fake.seed_admin_token()))
    assert "A repository for this wiki does not exist yet." in done.stderr


# Load


def test_gzipped_request_passes_through(fake, pushed, url):
    head = pushed.git("rev-parse", "HEAD")
    want = f"want {head} no-progress\n"
    body = f"{len(want) + 4:04x}{want}00000009done\n".encode()
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x-git-upload-pack-request"}
    answer = requests.post(f"{url}/git-upload-pack", data=gzip.compress(body), headers=headers, timeout=10)
    assert answer.content.startswith(b"0008NAK\nPACK")


def test_chunked_push_and_twenty_clones_at_once(fake, pushed, url, tmp_path):
    (pushed.folder / "big").write_bytes(os.urandom(3_000_000))
    pushed.git("add", "big")
    pushed.git("commit", "-q", "-m", "big")
    pushed.git("-c", "http.postBuffer=65536", "push", "-q", url, "main")

    def clone(number):
        return run_git(tmp_path, "clone", "-q", "--bare", url, f"clone{number}").returncode

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(clone, range(20))) == {0}
    head = pushed.git("rev-parse", "HEAD")
    heads = {run_git(tmp_path / f"clone{number}", "rev-parse", "HEAD").stdout.strip() for number in range(20)}
    assert heads == {head}


# LFS


@pytest.fixture
def tracked(tmp_path):
    """A working copy with one file in LFS, nothing pushed."""
    require_tool("git-lfs")
    copy = WorkingCopy(tmp_path / "lfs")
    copy.git("lfs", "install", "--local", "--skip-repo")
    copy.git("lfs", "track", "*.bin")
    copy.git("add", ".gitattributes")
    copy.commit("data.bin", "large content\n")
    return copy


@pytest.fixture
def lfs_url(fake):
    return git_url(fake, "team/app", fake.seed_admin_token())


def test_pointers_without_objects_are_refused(tracked, lfs_url):
    done = tracked.try_git("push", "--no-verify", lfs_url, "main")
    assert done.returncode == 1
    text = 'GitLab: LFS objects are missing. Ensure LFS is properly set up or try a manual "git lfs push --all".'
    assert text in done.stderr


def test_objects_before_refs(fake, tracked, lfs_url, tmp_path):
    tracked.git("remote", "add", "origin", lfs_url)
    tracked.git("lfs", "push", "--all", "origin")
    tracked.git("push", "-q", "origin", "main")
    tracked.git("lfs", "push", "--all", "origin")  # nothing is left to send
    uploads = [one for one in fake.requests if "/gitlab-lfs/objects/" in one.path]
    assert [(one.method, one.status) for one in uploads] == [("PUT", 200)]
    options = [
        f"filter.lfs.{name}={value}" for name, value in (("smudge", "git-lfs smudge -- %f"), ("required", "true"))
    ]
    flags = [word for option in options for word in ("-c", option)]
    done = run_git(tmp_path, *flags, "clone", "-q", lfs_url, "clone")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clone" / "data.bin").read_text() == "large content\n"


def test_a_project_with_lfs_off_takes_pointers(fake, tracked, lfs_url):
    project = connect(fake).projects.get("team/app")
    project.lfs_enabled = False
    project.save()
    tracked.git("push", "-q", "--no-verify", lfs_url, "main")
    answer = requests.post(
        f"{lfs_url}/info/lfs/objects/batch", json={"operation": "download", "objects": [{}]}, timeout=10
    )
    assert (answer.status_code, answer.json()["message"]) == (403, "Access forbidden. Check your access level.")


def test_objects_are_checked(fake, lfs_url):
    oid = "0" * 64
    batch = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": 3}]}
    answer = requests.post(f"{lfs_url}/info/lfs/objects/batch", json=batch, timeout=10).json()
    action = answer["objects"][0]["actions"]["upload"]
    headers = {"Authorization": action["header"]["Authorization"]}
    stored = requests.put(action["href"], data=b"abc", headers=headers, timeout=10)
    assert (stored.status_code, stored.text) == (400, "SHA256 or size mismatch")
    batch = {"operation": "download", "objects": [{"oid": oid, "size": 3}]}
    answer = requests.post(f"{lfs_url}/info/lfs/objects/batch", json=batch, timeout=10).json()
    assert answer["objects"][0]["error"]["code"] == 404


def test_lfs_upload_needs_the_right_to_push(fake):
    root = git_url(fake, "team/app", fake.seed_admin_token(["read_repository"]))
    batch = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 1}]}
    assert requests.post(f"{root}/info/lfs/objects/batch", json=batch, timeout=10).status_code == 403
    assert requests.post(f"{root}/info/lfs/locks/verify", json={}, timeout=10).status_code == 403
