"""Copies over smart HTTP: a real git against the API behind a real server."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import uvicorn

from autogit.api.app import create_app
from autogit.api.git_answer import Turns
from autogit.model.mirror import MirrorRecord
from autogit.providers.git import upload_pack
from autogit.providers.host.mirror_records import MirrorRecords

TOKEN = "a-token-of-forty-characters-and-not-less"
BACKUP = "refs/autogit/backup/2026-11-27/081500/heads/main"


def git(*words, folder=None, expect=0, **environ):
    done = subprocess.run(
        ["git", "-c", "protocol.allow=always", *words],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert expect is None or done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


class Served:
    """A project with copies, and its API on a port of its own."""

    def __init__(self, root):
        self.root = root
        self.mirrors = root / ".autogit" / "mirrors"
        self.records = MirrorRecords(self.mirrors / "records.sqlite")
        self.app = create_app()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        config = uvicorn.Config(self.app, log_level="critical", server_header=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join()
        self._listening.close()

    def url(self, copy, token=TOKEN):
        return f"http://{f'autogit:{token}@' if token else ''}{self.host}/git/{copy}"

    def add(self, folder, path, *, commits=2, content=None):
        """Make a bare copy with some history, and a record of it."""
        place = self.mirrors / folder
        git("init", "-q", "--bare", "-b", "main", str(place))
        for number in range(commits):
            self.commit(place, content if content is not None and number == 0 else f"{number}\n".encode())
        rule = folder.partition("/")[0]
        self.records.save([MirrorRecord(f"git:{folder}", rule, path, f"https://example.org/{path}", folder)])
        return place

    @staticmethod
    def commit(place, content):
        blob = subprocess.run(
            ["git", "hash-object", "-w", "--stdin"], input=content, cwd=place, capture_output=True, check=True
        ).stdout.decode().strip()  # fmt: skip
        index = {"GIT_INDEX_FILE": str(place / "index.test")}
        git("update-index", "--add", "--cacheinfo", f"100644,{blob},file", folder=place, **index)
        tree = git("write-tree", folder=place, **index).stdout.strip()
        tip = git("rev-parse", "-q", "--verify", "refs/heads/main", folder=place, expect=None).stdout.strip()
        new = git("commit-tree", tree, *(["-p", tip] if tip else []), "-m", "more", folder=place).stdout.strip()
        git("update-ref", "refs/heads/main", new, folder=place)
        return new

    def children(self):
        """Processes of git that this process still has."""
        listed = Path(f"/proc/{os.getpid()}/task")
        pids = {pid for task in listed.iterdir() for pid in (task / "children").read_text().split()}
        return [pid for pid in pids if b"upload-pack" in (Path("/proc") / pid / "cmdline").read_bytes()]


@pytest.fixture
def served(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("SERVICES_ENABLED=api\n")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("AUTOGIT_PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("AUTOGIT_API_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.delenv("AUTOGIT_ENV_FILE", raising=False)
    with Served(tmp_path) as served:
        yield served


@pytest.fixture
def copy(served):
    return served.add("github-you/app.git", "you/app")


def tip(place, ref="refs/heads/main"):
    return git("rev-parse", ref, folder=place).stdout.strip()


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_clone_fetch_and_shallow_by_each_protocol_version(served, copy, tmp_path, version):
    protocol = ("-c", f"protocol.version={version}")
    clone = tmp_path / "clone"
    git(*protocol, "clone", "-q", served.url("github-you/app.git"), str(clone))
    assert tip(clone, "HEAD") == tip(copy)
    newer = served.commit(copy, b"newer\n")
    git(*protocol, "fetch", "-q", folder=clone)
    assert tip(clone, "origin/main") == newer
    shallow = tmp_path / "shallow"
    git(*protocol, "clone", "-q", "--depth", "1", served.url("github-you/app.git"), str(shallow))
    assert git("rev-list", "--count", "HEAD", folder=shallow).stdout == "1\n"
    git(*protocol, "fetch", "-q", "--unshallow", folder=shallow)
    assert git("rev-list", "--count", "HEAD", folder=shallow).stdout == "3\n"
    git("fsck", "--full", "--strict", folder=shallow)


@pytest.mark.parametrize("version", ["0", "2"])
def test_backups_are_there_and_not_shown(served, copy, version):
    git("update-ref", BACKUP, tip(copy), folder=copy)
    git("update-ref", "refs/pull/1/head", tip(copy), folder=copy)
    listed = git("-c", f"protocol.version={version}", "ls-remote", served.url("github-you/app.git")).stdout
    names = [line.split("\t")[1] for line in listed.splitlines()]
    assert names == ["HEAD", "refs/heads/main", "refs/pull/1/head"]


def test_an_empty_copy_and_the_path_that_the_source_has(served, tmp_path):
    served.add("git-mine/odd_name.git", "~odd/name", commits=0)
    git("clone", "-q", served.url("git-mine/~odd/name.git"), str(tmp_path / "empty"))
    assert git("for-each-ref", folder=tmp_path / "empty").stdout == ""


def test_a_large_pack_is_whole_and_is_not_held_in_memory(served, tmp_path):
    place = served.add("github-you/large.git", "you/large", content=os.urandom(30 * 1024**2))
    before = peak_kb()
    clone = tmp_path / "clone"
    git("clone", "-q", served.url("github-you/large.git"), str(clone))
    assert tip(clone, "HEAD") == tip(place)
    assert peak_kb() - before < 12 * 1024


def peak_kb():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])


def test_clones_at_once(served, copy, tmp_path):
    def clone(number):
        git("clone", "-q", served.url("github-you/app.git"), str(tmp_path / f"clone{number}"))
        return tip(tmp_path / f"clone{number}", "HEAD")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(clone, range(16))) == {tip(copy)}


def test_a_long_negotiation_comes_packed_and_is_understood(served, copy, tmp_path):
    clone = tmp_path / "clone"
    git("clone", "-q", served.url("github-you/app.git"), str(clone))
    for number in range(60):  # many that the copy does not have: git packs requests above a kilobyte
        git("commit", "-q", "--allow-empty", "-m", f"mine {number}", folder=clone)
    newer = served.commit(copy, b"newer\n")
    for version in ("0", "2"):
        git("-c", f"protocol.version={version}", "fetch", "-q", folder=clone)
    assert tip(clone, "origin/main") == newer


def test_a_push_is_refused_with_a_sentence(served, copy, tmp_path):
    clone, before = tmp_path / "clone", tip(copy)
    git("clone", "-q", served.url("github-you/app.git"), str(clone))
    git("commit", "-q", "--allow-empty", "-m", "mine", folder=clone)
    said = git("push", "-q", "origin", "HEAD:main", folder=clone, expect=128).stderr
    assert "copies are read-only" in said
    assert "403" in said
    assert tip(copy) == before
    url = served.url("github-you/app.git/git-receive-pack")
    assert requests.post(url, data=b"0000", timeout=10).status_code == 403


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "%00"])
def test_without_the_token_nobody_learns_whether_there_is_a_copy(served, copy, token):
    for path in ("github-you/app.git", "github-you/none.git"):
        for service in ("git-upload-pack", "git-receive-pack"):
            url = served.url(f"{path}/info/refs?service={service}", token)
            answer = requests.get(url, timeout=10)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith('Basic realm="')
            assert answer.headers["Cache-Control"] == "no-store"
        assert requests.post(served.url(f"{path}/git-upload-pack", token), timeout=10).status_code == 401


def test_an_exchanged_token_counts_at_once_and_none_lets_nobody_in(served, copy):
    (served.root / "token").write_text("another-token")
    git("ls-remote", served.url("github-you/app.git", "another-token"))
    git("ls-remote", served.url("github-you/app.git"), expect=128)
    (served.root / "token").write_text("")
    git("ls-remote", served.url("github-you/app.git", "x"), expect=128)


def test_the_token_is_taken_as_a_bearer_too(served, copy):
    url = served.url("github-you/app.git/info/refs?service=git-upload-pack", "")
    answer = requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    assert answer.status_code == 200
    assert answer.content.startswith(b"001e# service=git-upload-pack\n0000")


@pytest.mark.parametrize(
    "path",
    [
        "github-you/none.git", "none/app.git", "github-you/app.git.git", "github-you/..%2fgithub-you%2fapp.git",
        "github-you/../github-you/app.git", "github-you/%2e%2e/records.git", "..%2f..%2fsecret.git",
        "github-you/app.git%00.git", "github-you//app.git", "github-you/--upload-pack=x.git", "github-you/linked.git",
    ],
)  # fmt: skip
def test_what_is_not_recorded_is_not_found(served, copy, path):
    secret = served.root / "secret.git"
    git("init", "-q", "--bare", str(secret))
    git("init", "-q", "--bare", str(served.mirrors / "github-you" / "unrecorded.git"))
    (served.mirrors / "github-you" / "linked.git").symlink_to(secret)
    served.records.save([MirrorRecord("git:linked", "github-you", "you/linked", "x", "github-you/linked.git")])
    with socket.create_connection(("127.0.0.1", served.port), 10) as link:  # clients would tidy the path up
        request = f"GET /git/{path}/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        link.sendall(f"{request}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        said = b"".join(iter(lambda: link.recv(65536), b"")).decode()
    assert said.split()[1] in ("404", "400")
    assert str(served.root) not in said


def test_git_is_told_why(served, copy):
    said = git("ls-remote", served.url("github-you/none.git"), expect=128).stderr
    assert "remote: there is no copy of that name" in said


def test_the_dumb_protocol_is_not_served(served, copy):
    assert requests.get(served.url("github-you/app.git/info/refs"), timeout=10).status_code == 403
    for path in ("HEAD", "objects/info/packs", "config"):
        assert requests.get(served.url(f"github-you/app.git/{path}"), timeout=10).status_code == 404


@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        (b"0000", {"Content-Type": "text/plain"}, 415),
        (b"0000", {"Content-Encoding": "br"}, 415),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"0000" * 99, mtime=0)[:20], {"Content-Encoding": "gzip"}, 400),
        (b"zzzz", {}, 400),
    ],
)
def test_requests_that_no_git_makes(served, copy, body, more, status):
    headers = {"Content-Type": "application/x-git-upload-pack-request", **more}
    url = served.url("github-you/app.git/git-upload-pack")
    answer = requests.post(url, data=body, headers=headers, timeout=20)
    assert answer.status_code == status, answer.text
    assert str(served.root) not in answer.text
    git("ls-remote", served.url("github-you/app.git"))
    assert served.children() == []


def test_a_small_request_that_grows_without_end_is_cut_off(served, copy):
    want = f"0032want {tip(copy)}\n".encode()
    body = gzip.compress(want * (40 * 1024**2 // len(want)))
    headers = {"Content-Type": "application/x-git-upload-pack-request", "Content-Encoding": "gzip"}
    answer = requests.post(served.url("github-you/app.git/git-upload-pack"), data=body, headers=headers, timeout=60)
    assert (answer.status_code, len(body) < 1024**2) == (413, True)
    assert served.children() == []


def test_neither_hooks_nor_anybodys_configuration_count(served, copy, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    program = tmp_path / "hook"
    program.write_text(f'#!/bin/sh\ntouch {canary}\nexec "$@"\n')
    program.chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[uploadpack]\n\tpackObjectsHook = {program}\n")
    git("config", "uploadpack.packObjectsHook", str(program), folder=copy)
    git("config", "core.fsmonitor", str(program), folder=copy)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    git("clone", "-q", served.url("github-you/app.git"), str(tmp_path / "clone"))
    assert not canary.exists()


def test_whoever_hangs_up_ends_git(served, tmp_path):
    served.add("github-you/large.git", "you/large", content=os.urandom(30 * 1024**2))
    want = git("ls-remote", served.url("github-you/large.git"), "refs/heads/main").stdout.split()[0]
    line = f"want {want} ofs-delta no-progress\n"
    body = f"{len(line) + 4:04x}{line}00000009done\n".encode()
    with socket.create_connection(("127.0.0.1", served.port), 10) as link:
        link.sendall(
            f"POST /git/github-you/large.git/git-upload-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert link.recv(1000).startswith(b"HTTP/1.1 200")
        assert served.children() != []
    for _ in range(200):
        if not served.children():
            break
        threading.Event().wait(0.05)
    assert served.children() == []


def test_who_reads_nothing_is_ended(served, monkeypatch):
    monkeypatch.setattr(upload_pack.UploadPack.__init__, "__kwdefaults__", {
        "protocol": "", "advertise": False, "limits": upload_pack.Limits(0.5, 60.0),
    })  # fmt: skip
    served.add("github-you/large.git", "you/large", content=os.urandom(30 * 1024**2))
    want = tip(served.mirrors / "github-you/large.git")
    line = f"want {want} ofs-delta no-progress\n"
    body = f"{len(line) + 4:04x}{line}00000009done\n".encode()
    headers = {"Content-Type": "application/x-git-upload-pack-request"}
    answer = requests.post(
        served.url("github-you/large.git/git-upload-pack"), data=body, headers=headers, timeout=20, stream=True
    )
    for _ in range(200):
        if not served.children():
            break
        threading.Event().wait(0.05)
    assert served.children() == []
    with pytest.raises(requests.RequestException):  # the connection ends in the middle, and not as if that were all
        for _ in answer.iter_content(65536):
            pass


def test_too_many_at_once_are_told_to_come_again(served, copy):
    async def full():
        turns = Turns(1, 0.01)
        await turns._free.acquire()
        return turns

    served.app.state.git_turns = asyncio.run(full())
    answer = requests.get(served.url("github-you/app.git/info/refs?service=git-upload-pack"), timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
