"""A token reaches the host that it is for, and nothing else: no process list, no file, no error, no other host."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from autogit.errors import ProviderAuthError, UsageError
from autogit.providers.git.credentials import Credential, helper_for
from autogit.providers.git.push import Writing, push
from tests.git_server import GitServer
from tests.watch import Watch

_CANARY = b"canary-4f1c9a"


def test_a_token_shows_in_no_process_list_and_no_file(bench, source, served):
    bench.upstream("target.git").git("config", "http.receivepack", "true")
    url = f"{served.url}/target.git"
    with Watch(_CANARY) as watch:
        bench.sync(f"{served.url}/source.git", credential=served.credential)
        found = bench.advertise(url, served.credential).refs
        asyncio.run(push(bench.copy, found, Writing(url, served.credential)))
        rounds = watch.rounds
    assert rounds > 3
    assert watch.found == []
    assert not [path for path in bench.root.rglob("*") if path.is_file() and _CANARY in path.read_bytes()]
    assert _CANARY.decode() not in repr(served.credential)


def test_a_temporary_folder_with_a_long_name_is_no_hindrance(bench, source, served, tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert bench.advertise(f"{served.url}/source.git", served.credential).refs


def test_a_redirect_to_another_host_gets_no_token(bench, source, served):
    with GitServer(bench.root / "served", {"mirror": "canary-4f1c9a"}) as other:
        served.fault = lambda _path: ("redirect", other.url)
        with pytest.raises(ProviderAuthError) as caught:
            bench.advertise(f"{served.url}/source.git", served.credential)
        assert other.requests
        assert not [seen for seen in other.headers_seen if "Authorization" in seen]
    assert _CANARY.decode() not in caught.value.message


def test_errors_do_not_show_a_token_that_the_server_sends_back(bench, tmp_path):
    program = tmp_path / "git"
    program.write_text(
        '#!/bin/sh\necho git version 2.40.1\necho "fatal: canary-4f1c9a is wrong" >&2\n[ "$1" = --version ]\n'
    )
    program.chmod(0o755)
    bench.git.program = str(program)
    credential = Credential.for_url("https://example.org/a", "u", "canary-4f1c9a")
    with pytest.raises(Exception, match=r"\*\*\* is wrong"):
        bench.advertise("https://example.org/a", credential)


def test_the_helper_answers_its_host_only_and_leaves_nothing():
    credential = Credential.for_url("https://example.org/a", "u", "t")
    assert credential.answer("protocol=https\nhost=example.org:443\npath=b\n\n") == "username=u\npassword=t\n"
    for question in ("protocol=http\nhost=example.org\n\n", "protocol=https\nhost=example.org.evil.test\n\n",
                     "protocol=https\nhost=example.org:8443\n\n", "protocol=https\nhost=[\n\n", "", "x"):  # fmt: skip
        assert credential.answer(question) == ""

    async def serve():
        async with helper_for(credential) as helper:
            socket = Path(helper.split()[-3].rstrip(";"))
            assert stat.S_IMODE(socket.stat().st_mode) == 0o600
            assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        return socket

    assert not asyncio.run(serve()).parent.exists()


@pytest.mark.parametrize("password", ["a\nhost=x", "a\0b"])
def test_a_credential_that_would_break_out_of_its_line_is_refused(password):
    with pytest.raises(UsageError):
        Credential.for_url("https://example.org/a", "u", password)


def test_a_token_is_never_sent_over_ssh():
    with pytest.raises(UsageError):
        Credential.for_url("git@example.org:a", "u", "t")
