"""Faults of servers and machines as errors of AutoGit, and git's own hardening."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autogit.errors import (
    GoneError,
    ProviderAuthError,
    ProviderError,
    RateLimitedError,
    RejectedError,
    StorageFullError,
    UnavailableError,
    UnsupportedError,
    UsageError,
)
from autogit.providers.git.bare import Reading
from autogit.providers.git.faults import fault_of
from autogit.providers.git.runner import Call, Git
from tests.providers.git.conftest import NOW


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, ProviderAuthError), (403, ProviderAuthError), (404, GoneError), (410, GoneError), (429, RateLimitedError),
     (500, UnavailableError), (503, UnavailableError)],
)  # fmt: skip
def test_a_status_is_its_error(bench, source, served, status, error):
    served.fault = lambda _path: status
    with pytest.raises(error) as caught:
        bench.advertise(f"{served.url}/source.git", served.credential)
    assert type(caught.value) is error
    assert served.url in caught.value.message


def test_a_missing_repository_a_missing_path_and_a_wrong_password(bench, source, served):
    with pytest.raises(GoneError):
        bench.advertise(f"{served.url}/nothing.git", served.credential)
    with pytest.raises(GoneError):
        bench.advertise(bench.root / "nothing")
    with pytest.raises(ProviderAuthError):
        bench.advertise(f"{served.url}/source.git")
    served.users["mirror"] = "another"
    with pytest.raises(ProviderAuthError):
        bench.advertise(f"{served.url}/source.git", served.credential)


def test_nobody_listens_no_such_name_no_tls(bench, served):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/x", "http://nowhere.invalid/x", f"https{served.url[4:]}/source.git"):
        with pytest.raises(UnavailableError):
            bench.advertise(url)


def test_a_pack_cut_in_the_middle_changes_nothing_and_comes_right(bench, source, served):
    url = f"{served.url}/source.git"
    bench.sync(url, credential=served.credential)
    before = asyncio.run(bench.copy.refs())
    source.ref("refs/heads/main", source.commit(os.urandom(200_000).hex(), before["refs/heads/main"]))
    seen = bench.advertise(url, served.credential)
    served.fault = lambda path: "cut" if path.endswith("/git-upload-pack") else None
    with pytest.raises(UnavailableError):
        asyncio.run(bench.copy.fetch(seen, Reading(url, served.credential), NOW))
    assert asyncio.run(bench.copy.refs()) == before
    served.fault = lambda _path: None
    bench.sync(url, credential=served.credential)
    assert bench.unlike(url, served.credential) == ()


def _with_small_files(bench, source, kibibytes):
    """A limit on the size of files stands for a full disk; git is told of it as of that, not by a signal."""
    program = bench.root / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/bash\ntrap '' XFSZ\nexec {shutil.which('git')} \"$@\"\n")
    program.chmod(0o755)
    # What is written down of a run's coverage would find no room either, and fail before AutoGit does.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return subprocess.run(
        ["bash", "-c", f'ulimit -S -f {kibibytes}; exec "$@"', "-", sys.executable, "-m",
         "tests.providers.git.sync_once", str(source.path), str(bench.copy.path)],
        cwd=Path(__file__).resolve().parents[3], env=environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kibibytes", [0, 1, 64])
def test_a_full_disk_changes_nothing_and_is_told(bench, source, kibibytes):
    """No room for a temporary folder, for the refs, for a pack."""
    tip = source.refs()["refs/heads/main"]
    source.git("update-ref", "--stdin", stdin="".join(f"create refs/tags/t{number} {tip}\n" for number in range(50)))
    bench.sync(source.path)
    before = asyncio.run(bench.copy.refs())
    source.ref("refs/heads/main", before["refs/tags/light"])
    if kibibytes == 64:
        source.ref("refs/heads/main", source.commit(os.urandom(200_000).hex()))
    done = _with_small_files(bench, source, kibibytes)
    assert "StorageFullError" in done.stderr
    assert asyncio.run(bench.copy.refs()) == before
    bench.sync(source.path)
    assert bench.unlike(source.path) == ()


@pytest.mark.parametrize(
    ("stderr", "error"),
    [
        ("fatal: write error: No space left on device\nfatal: index-pack failed", StorageFullError),
        ("remote: error: No space left on device\nfatal: the remote end hung up", UnavailableError),
        ("fatal: unable to access 'https://x/': SSL certificate problem: unable to get local issuer", UnavailableError),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", UnavailableError),
        ("git@x: Permission denied (publickey).\nfatal: Could not read from remote repository.", ProviderAuthError),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", ProviderAuthError),
        ("remote: Repository not found.\nfatal: repository 'https://x/a/' not found", GoneError),
        ("ERROR: The project you were looking for could not be found or you don't have permission", GoneError),
        ("error: RPC failed; HTTP 429 curl 22 The requested URL returned error: 429", RateLimitedError),
        ("error: RPC failed; curl 56 GnuTLS recv error (-9)\nfatal: early EOF", UnavailableError),
        ("remote: GitLab: You are not allowed\n ! [remote rejected] main (pre-receive hook declined)", RejectedError),
        ("fatal: detected dubious ownership in repository at '/srv/x'", RejectedError),
        ("fatal: something else", ProviderError),
        ("", ProviderError),
    ],
)
def test_words_of_git_are_their_error(stderr, error):
    assert type(fault_of("fetching x", stderr)) is error


def test_no_control_character_of_the_other_side_reaches_the_message():
    assert "\x1b" not in fault_of("x", "remote: \x1b[2Jhello\x07").message


@pytest.mark.parametrize("url", ["ext::sh -c touch% owned", "--upload-pack=touch owned", "file:///etc"])
def test_hostile_addresses_do_not_reach_git(bench, url):
    with pytest.raises(UsageError):
        bench.advertise(url)


def test_a_redirect_to_another_transport_is_not_followed(bench, source, served):
    served.fault = lambda _path: ("redirect", f"file://{bench.root}/served")
    with pytest.raises(ProviderError):
        bench.advertise(f"{served.url}/source.git", served.credential)


def test_the_users_configuration_and_environment_do_not_count(bench, source, monkeypatch):
    home = bench.root / "home"
    home.mkdir()
    (home / ".gitconfig").write_text('[url "/nowhere/"]\n\tinsteadOf = /\n[core]\n\tsshCommand = touch /tmp/owned\n')
    for name, value in {"HOME": str(home), "GIT_DIR": "/nowhere", "GIT_CONFIG_PARAMETERS": "'core.bare'='x'"}.items():
        monkeypatch.setenv(name, value)
    assert len(bench.advertise(source.path).refs) == 6


def test_a_git_that_is_too_old_or_missing_is_told(tmp_path):
    old = tmp_path / "git"
    old.write_text("#!/bin/sh\necho git version 2.30.9\n")
    old.chmod(0o755)
    with pytest.raises(UnsupportedError, match="2.30; mirrors need 2.31 or newer"):
        asyncio.run(Git(program=str(old)).run(Call(("status",))))
    with pytest.raises(UnsupportedError, match="cannot be run"):
        asyncio.run(Git(program=str(tmp_path / "none")).run(Call(("status",))))


@pytest.fixture
def slow_git(tmp_path):
    """A git that never ends, with a child that holds its pipes."""
    slow = tmp_path / "git"
    slow.write_text(
        '#!/bin/sh\n[ "$1" != --version ] || { echo git version 2.40.1; exit; }\n'
        f"sleep 600 & echo $! > {tmp_path}/child; touch {tmp_path}/ready; wait\n"
    )
    slow.chmod(0o755)
    return Git(program=str(slow))


@pytest.mark.parametrize("ends", ["budget", "cancelled"])
def test_past_its_budget_or_when_stopped_git_and_what_it_started_end(tmp_path, slow_git, ends):
    async def run():
        task = asyncio.create_task(slow_git.run(Call(("fetch",), budget_seconds=0.5)))
        if ends == "cancelled":
            while not (tmp_path / "ready").exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)
            task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError if ends == "cancelled" else UnavailableError):
        asyncio.run(run())
    assert _ended(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize("connecting", ["connect_write_pipe", "connect_read_pipe"])
def test_stopped_while_its_pipes_are_connected_git_and_what_it_started_end(tmp_path, slow_git, connecting):
    async def run():
        await slow_git.version()
        loop = asyncio.get_running_loop()
        connect = getattr(loop, connecting)

        async def connect_as_it_is_stopped(*args):
            while not (tmp_path / "ready").exists():
                time.sleep(0.01)  # noqa: ASYNC251 - the loop must not move on before git's child holds the pipes
            fetch.cancel()  # for the outputs: twice, as who is impatient does
            return await connect(*args)

        setattr(loop, connecting, connect_as_it_is_stopped)
        fetch = asyncio.create_task(slow_git.run(Call(("fetch",))))
        await fetch

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert _ended(int((tmp_path / "child").read_text()))


def _ended(pid):
    """A child of init may be a zombie for a moment."""
    for _ in range(500):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False
