"""`autogit mirror` where something is wrong: what it says, how it ends, and that no copy lost or changed anything."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_mirror import TOKEN, _git, _objects, _refs
from tests.fakes.forges.github import FakeGitHub
from tests.git_server import GitServer
from tests.providers.git.conftest import Upstream
from tests.tls_front import TlsFront, write_certificate
from tests.tools import require_tool


@pytest.fixture
def project(autogit, env, monkeypatch):
    """A project whose secret GIT_TOKEN opens the server."""
    env("RUNTIME=embedded\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    assert autogit("secrets", "set", "GIT_TOKEN").code == 0
    return autogit


@pytest.fixture
def source(tmp_path):
    upstream = Upstream(tmp_path / "served" / "app.git")
    first = upstream.commit("first")
    upstream.ref("refs/heads/main", upstream.commit("second", first))
    upstream.ref("refs/heads/topic", upstream.commit("topic", first))
    return upstream


@pytest.fixture
def served(source):
    with GitServer(source.path.parent, {"git": TOKEN}) as server:
        yield server


@pytest.fixture
def copied(project, served):
    """The repository, mirrored once over HTTP; returns where its copy is."""
    words = ["--name", "m", "--credential", "GIT_TOKEN"]
    assert project("mirror", "add", f"{served.url}/app.git", *words).code == 0
    assert project("mirror", "sync").code == 0
    return project.root / ".autogit" / "mirrors" / "m" / "app.git"


def _state(folder):
    return _refs(folder), _objects(folder), (folder / "HEAD").read_text()


def _failing(project, folder, before, *said):
    """A sync ends with 1 and says so; the copy is as it was, and its last proof still counts."""
    done = project("mirror", "sync")
    assert done.code == 1, done.out + done.err
    assert [words for words in said if words not in done.out] == [], done.out
    assert TOKEN not in done.out + done.err
    assert _state(folder) == before
    (view,) = project("mirror", "status", "--format", "json").json()["mirrors"]
    assert (view["state"], view["refs"]) == ("failing", len(before[0]))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not take the credential (HTTP 401): wanted is a token, or user:password, that may read"),
        (403, "does not take the credential (HTTP 403): wanted is a token, or user:password, that may read"),
        (404, "is not there (HTTP 404)"),
        (410, "is not there (HTTP 410)"),
        (429, "wants to be asked later (HTTP 429)"),
        (500, "answers HTTP 500"),
        (502, "answers HTTP 502"),
    ],
)
def test_a_refusal_of_the_source_is_a_sentence(project, served, copied, status, said):
    before = _state(copied)
    served.fault = lambda _path: status
    _failing(project, copied, before, f"{served.url}/app.git", said)
    served.fault = lambda _path: None
    assert project("mirror", "sync").code == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refused the credential (HTTP 401)"),
        (404, "there is no such repository"),
        (429, "wants fewer requests (HTTP 429)"),
        (503, "the server failed (HTTP 503)"),
        ("cut", "the connection was cut or not answered"),
    ],
)
def test_a_fetch_that_breaks_off_changes_nothing_and_comes_right(project, source, served, copied, status, said):
    """The refs were told, and then, amid the pack, the source or the network gives up."""
    before = _state(copied)
    main = source.refs()["refs/heads/main"]
    source.ref("refs/heads/main", source.commit(os.urandom(200_000).hex(), main))
    served.fault = lambda path: status if path.endswith("/git-upload-pack") else None
    _failing(project, copied, before, said)
    assert list(copied.rglob("tmp_*")) == []
    served.fault = lambda _path: None
    assert project("mirror", "sync").code == 0
    assert _state(copied)[:2] == (_refs(source.path), _objects(source.path))


def _moved(project, url):
    """Change the address by hand, as somebody would who mistypes it."""
    rules = project.root / "mirrors.yml"
    lines = [f"  owner: {url}" if line.startswith("  owner:") else line for line in rules.read_text().splitlines()]
    rules.write_text("\n".join(lines) + "\n")


def test_no_tls_no_name_nobody_there(project, served):
    """Each is told in words of its own; the first attempt of a mirror leaves no half of a copy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    project("mirror", "add", f"{served.url}/app.git", "--name", "m")
    said = {}
    for url in (f"https{served.url[4:]}/app.git", "http://nowhere.invalid/app.git", f"http://127.0.0.1:{port}/app.git"):
        _moved(project, url)
        done = project("mirror", "sync")
        assert done.code == 1
        assert "1 failing" in done.out
        said[url] = next(line for line in done.out.splitlines() if "cannot be reached" in line or "certificate" in line)
    assert re.search("name resolution|Name or service", said["http://nowhere.invalid/app.git"]), said
    assert "refused" in said[f"http://127.0.0.1:{port}/app.git"], said
    assert len({line.partition("cannot be reached")[2] for line in said.values()}) == len(said), said
    assert list((project.root / ".autogit" / "mirrors").rglob("HEAD")) == []


def test_a_certificate_that_nobody_here_knows_is_told_and_nothing_is_sent(project, served, copied, tmp_path):
    before = _state(copied)
    certificate, key = write_certificate(tmp_path / "tls", "localhost")
    served.requests.clear()
    with TlsFront(certificate, key, int(served.url.rpartition(":")[2])) as front:
        url = f"https://localhost:{front.port}"
        rules = project.root / "mirrors.yml"
        rules.write_text(rules.read_text().replace(served.url, url))
        done = project("mirror", "sync")
    assert done.code == 1
    assert f"{url}: its certificate is not trusted (self-signed certificate)" in done.out
    assert served.requests == []
    assert _state(copied) == before


def test_a_large_file_that_the_source_lost_is_named_and_the_code_is_there(project, source, served, copied, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(require_tool('git-lfs')).parent}:{os.environ['PATH']}")
    oid = hashlib.sha256(b"lost").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 4\n"
    source.ref("refs/heads/large", source.commit(pointer))
    done = project("mirror", "sync")
    assert done.code == 1
    assert f"LFS object {oid} is missing at the source" in done.out
    assert _refs(copied) == _refs(source.path)
    again = project("mirror", "sync")
    assert (again.code, f"LFS object {oid} is missing" in again.out) == (1, True), "equal refs prove no large file"
    served.lfs["app.git"] = {oid: b"lost"}
    assert project("mirror", "sync").code == 0
    assert next(copied.rglob(oid)).read_bytes() == b"lost"


def test_a_history_that_was_rewritten_and_a_default_branch_of_another_name(project, source, copied):
    old = source.refs()["refs/heads/main"]
    source.ref("refs/heads/trunk", source.commit("rewritten"))
    source.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    source.delete("refs/heads/main")
    assert project("mirror", "sync").code == 0
    assert (copied / "HEAD").read_text() == "ref: refs/heads/trunk\n"
    assert _refs(copied) == _refs(source.path)
    view = project("mirror", "restore", "m", "app", "refs/heads/main", "--format", "json").json()
    assert view["object_id"] == old


def test_branches_that_differ_by_case_are_copied_and_a_branch_below_another_is_told(project, source, copied):
    tip = source.refs()["refs/heads/topic"]
    for name in ("Topic", "TOPIC", "tOpic"):
        source.ref(f"refs/heads/{name}", tip)
    assert project("mirror", "sync").code == 0
    assert _refs(copied) == _refs(source.path)
    before = _state(copied)
    source.git("pack-refs", "--all", "--prune")
    with (source.path / "packed-refs").open("a") as file:
        file.write(f"{tip} refs/heads/topic/below\n")  # no git makes this; a damaged or hostile server shows it
    _failing(project, copied, before, "a ref can't be another's folder: 'refs/heads/topic'")


def test_what_a_gitmodules_names_is_not_fetched(project, source, served, copied, tmp_path):
    """Submodules stay as they are: a path, an address that is a command, a name that leads out of the folder."""
    hostile = (
        f'[submodule "../../hooks"]\n\tpath = x\n\turl = {served.url}/other.git\n'
        f'[submodule "y"]\n\tpath = -u./y\n\turl = ext::sh -c "touch {tmp_path}/owned"\n'
        f"\tupdate = !touch {tmp_path}/owned\n"
    )
    blob = source.git("hash-object", "-w", "--stdin", stdin=hostile)
    tip = source.refs()["refs/heads/main"]
    tree = source.git("mktree", "--missing", stdin=f"100644 blob {blob}\t.gitmodules\n160000 commit {tip}\tx\n")
    source.ref("refs/heads/main", source.git("commit-tree", tree, "-p", tip, stdin="submodules"))
    served.requests.clear()
    assert project("mirror", "sync").code == 0
    assert {one.split()[1].split("?")[0] for one in served.requests} <= {
        "/app.git/info/refs",
        "/app.git/git-upload-pack",
    }
    assert not (tmp_path / "owned").exists()
    assert _git(copied, "show", "main:.gitmodules") == hostile
    assert not (copied / "modules").exists()


@pytest.mark.parametrize(
    ("kind", "owner"),
    [
        ("git", "ext::sh -c touch% owned"),
        ("git", "--upload-pack=touch owned"),
        ("git", "https://example.org/a.git\n--upload-pack=touch owned"),
        ("git", "https://-oProxyCommand=touch/a.git"),
        ("git", "ssh://-oProxyCommand=touch%20owned/a"),
        ("git", "file:///etc"),
        ("git", "https://me:secret@example.org/a.git"),
        ("path", "../../etc"),
        ("path", "/srv/../etc"),
        ("github", "you/../../etc"),
        ("github", "--upload-pack=touch"),
    ],
)
def test_a_hostile_address_in_the_file_runs_nothing(project, kind, owner):
    """Whoever may write mirrors.yml may not run commands by it; what is refused is not shown where it has a secret."""
    text = owner.replace("\n", "\\n")
    (project.root / "mirrors.yml").write_text(f'mirrors:\n- {{name: m, kind: {kind}, owner: "{text}"}}\n')
    done = project("mirror", "sync")
    assert done.code in {1, 2}
    assert "secret" not in (done.out + done.err).replace("autogit secrets set", "")
    assert "Traceback" not in done.err
    assert list(project.root.rglob("owned")) == []
    assert list((project.root / ".autogit").rglob("HEAD")) == []


@pytest.mark.parametrize(
    "source", ["ext::sh -c id", "https://a/b.git\nx", "https://u:p@example.org/b.git", "file:///etc"]
)
def test_a_hostile_address_is_not_declared(project, source):
    done = project("mirror", "add", source)
    if done.code == 0:  # what only the source itself can tell is told by the sync
        done = project("mirror", "sync")
    assert done.code in {1, 2}
    assert "p@example" not in done.err.replace(source, "")


def test_hostile_repositories_of_a_forge_are_left_out_and_the_others_come(project, source, tmp_path, monkeypatch):
    """Names that lead elsewhere, are options or steer a terminal; a description that would."""
    forge = FakeGitHub()
    shutil.copytree(source.path, tmp_path / "git" / "you" / "app.git")
    with forge.with_code(GitServer(tmp_path / "git")):
        forge.add_account("you")
        forge.add("you", "app", description="\x1b[2J\nhello", default_branch="--upload-pack=touch")
        for name in ("../../etc", "--upload-pack=touch owned", "a\nb", "..", "-x", "\x1b[2J", ".git", "a/../../b"):
            forge.add("you", name)
        forge.opens = lambda _user, _password: True
        monkeypatch.setattr("sys.stdin", io.StringIO(forge.add_token("you")))
        assert project("secrets", "set", "FORGE_TOKEN").code == 0
        words = ["--server", forge.url, "--credential", "FORGE_TOKEN", "--name", "m"]
        assert project("mirror", "add", "github:you", *words).code == 0
        done = project("mirror", "sync")
    assert done.code == 0, done.out
    assert done.out.count("is left out") == 8
    assert "\x1b" not in done.out + done.err
    assert [path.parent.name for path in (project.root / ".autogit").rglob("HEAD")] == ["app.git"]
    assert list(tmp_path.rglob("*owned*")) == []


def test_a_damaged_copy_is_not_called_proven_by_the_next_sync(project, served, copied):
    """Refs that are equal say nothing of objects that a check found damaged; an outage in between changes nothing."""
    pack = next(copied.rglob("*.pack"))
    whole = pack.read_bytes()
    pack.chmod(0o644)
    pack.write_bytes(whole[:-30] + b"x" * 30)
    assert project("mirror", "verify").code == 1
    assert project("mirror", "sync").code == 1
    served.fault = lambda _path: 503
    assert project("mirror", "sync").code == 1
    served.fault = lambda _path: None
    done = project("mirror", "sync")
    assert (done.code, "1 failing" in done.out) == (1, True), done.out
    pack.write_bytes(whole)
    assert project("mirror", "sync").code == 0


def test_a_git_that_is_too_old_is_told_and_the_copy_stays(project, source, served, copied, tmp_path, monkeypatch):
    before = _state(copied)
    source.ref("refs/heads/main", source.commit("new"))
    (tmp_path / "old").mkdir()
    wrapper = tmp_path / "old" / "git"
    wrapper.write_text(
        f'#!/bin/sh\n[ "$1" != --version ] || {{ echo git version 2.30.9; exit; }}\nexec {shutil.which("git")} "$@"\n'
    )
    wrapper.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'old'}:{os.environ['PATH']}")
        _failing(project, copied, before, "is 2.30; mirrors need 2.31 or newer")
    assert project("mirror", "sync").code == 0


def test_fifty_thousand_refs_are_copied_and_looked_at_in_one_request(project, source, served, copied):
    tips = sorted(set(source.refs().values()))
    source.git("pack-refs", "--all", "--prune")
    with (source.path / "packed-refs").open("a") as file:
        file.writelines(f"{tips[number % 2]} refs/tags/t{number:05d}\n" for number in range(50_000))
    done = project("mirror", "sync", "--format", "json")
    assert done.code == 0, done.out + done.err
    assert done.json()["mirrors"][0]["refs"] == 50_002
    assert _refs(copied) == _refs(source.path)
    served.requests.clear()
    assert project("mirror", "sync").code == 0
    assert served.requests == ["GET /app.git/info/refs?service=git-upload-pack"]


_MEASURED = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", "autogit", "mirror", "sync"]).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("mebibytes", [20, pytest.param(300, marks=pytest.mark.soak)])
def test_a_large_pack_takes_no_more_memory_than_a_small_one(project, source, served, copied, mebibytes):
    """Git writes what comes to the disk: neither AutoGit nor any git that it starts holds it."""
    tip = source.refs()["refs/heads/main"]
    for part in range(mebibytes // 5):
        place = source.path / "large"
        place.write_bytes(os.urandom(5 << 20))
        blob = source.git("-c", "core.compression=0", "hash-object", "-w", str(place))
        tree = source.git("mktree", stdin=f"100644 blob {blob}\tlarge\n")
        tip = source.git("commit-tree", tree, "-p", tip, stdin=f"part {part}")
    source.ref("refs/heads/main", tip)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED], cwd=project.root, capture_output=True, text=True, timeout=280, check=False
    )
    code, kibibytes = done.stdout.split()[-2:]
    assert code == "0", done.stdout + done.stderr
    assert int(kibibytes) < 200 * 1024, f"{mebibytes} MiB took {int(kibibytes) // 1024} MiB of memory"
    assert _refs(copied) == _refs(source.path)
    print(f"{mebibytes} MiB: {int(kibibytes) // 1024} MiB of memory at most")
