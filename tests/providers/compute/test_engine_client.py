"""What an engine says becomes a sentence: its point, without the layers it came through."""

from __future__ import annotations

import asyncio
import threading

import pytest
import requests
from docker.errors import APIError, DockerException, StreamParseError
from urllib3.exceptions import ProtocolError

from autogit.errors import MissingError, PortTakenError, RejectedError, StorageFullError, UnavailableError
from autogit.providers.compute.engine.client import Engine, in_short
from tests.fakes.engine import fake_engine

ID = "b41c9d1e3f5a7b9c1d3e5f7a9b1c3d5e7f9a1b3c5d7e9f1a3b5c7d9e1f3a5b7c"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("No such image: web:1", "No such image: web:1"),
        (
            (
                "failed to create shim task: OCI runtime create failed: runc create failed: "
                'exec: "/bin/x": stat /bin/x: no such file or directory: unknown'
            ),
            'exec: "/bin/x": stat /bin/x: no such file or directory',
        ),
        (f"task {ID}: already exists: unknown", "task b41c9d1e3f5a: already exists"),
        ("one\n  two", "one two"),
        ("x" * 400, "x" * 300 + " ..."),
    ],
)
def test_an_engines_words_are_cut_to_their_point(said, words):
    assert in_short(said) == words


def refusal(status, text):
    response = requests.Response()
    response.status_code = status
    return APIError(text, response=response, explanation=text)


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (refusal(404, "No such container: web"), MissingError, "docker: No such container: web"),
        (
            refusal(
                500,
                f"driver failed programming external connectivity on endpoint shop-web-1 ({ID}): "
                "Bind for 127.0.0.1:8443 failed: port is already allocated",
            ),
            PortTakenError,
            "docker: port 127.0.0.1:8443 is taken",
        ),
        (
            refusal(500, "Error starting userland proxy: listen tcp4 0.0.0.0:443: bind: address already in use"),
            PortTakenError,
            "docker: port 443 is taken",
        ),
        (
            refusal(500, "mkdir /var/lib/docker/x: no space left on device"),
            StorageFullError,
            "docker: no space left on the engine's disk (/var/lib/docker/x)",
        ),
        (refusal(409, "Conflict. The name is in use"), RejectedError, "docker: Conflict. The name is in use"),
        (StreamParseError("half a document"), UnavailableError, "in the middle of its answer"),
        (ProtocolError("Connection broken"), UnavailableError, "the connection broke"),
        (requests.exceptions.ReadTimeout("Read timed out."), UnavailableError, "did not answer in time"),
        (DockerException("Invalid bind address format: what"), UnavailableError, "is no address"),
        (ConnectionResetError("reset by peer"), UnavailableError, "the connection broke"),
    ],
)
def test_every_fault_of_the_sdk_is_an_error_of_ours(tmp_path, raised, kind, words):
    def work(_api):
        raise raised

    with fake_engine(tmp_path / "s", {"ApiVersion": "1.41", "MinAPIVersion": "1.12"}) as host:
        engine = Engine(host)
        with pytest.raises(kind) as told:
            asyncio.run(engine.call(work))
        assert words in told.value.message
        asyncio.run(engine.find(lambda api: api.close()))


def test_what_is_not_the_engines_fault_is_not_told_as_one(tmp_path):
    with fake_engine(tmp_path / "s", {"ApiVersion": "1.41"}) as host:
        engine = Engine(host)
        with pytest.raises(FileNotFoundError):
            asyncio.run(engine.call(lambda _api: (tmp_path / "no-such-file").read_bytes()))
        asyncio.run(engine.call(lambda api: api.close()))


@pytest.mark.parametrize(("newest", "spoken"), [("1.41", "1.41"), ("1.77", "1.51")])
def test_the_newest_version_that_both_know_is_spoken(tmp_path, newest, spoken):
    with fake_engine(tmp_path / "s", {"ApiVersion": newest, "MinAPIVersion": "1.24"}) as host:
        engine = Engine(host)
        assert asyncio.run(engine.call(lambda api: (api.api_version, api.close())))[0] == spoken


def test_a_call_that_nobody_waits_for_any_more_does_not_hold_up_the_end(tmp_path):
    """Ctrl-C during a pull: the program ends, and the answer that comes later meets nobody."""
    released, begun = threading.Event(), threading.Event()

    def slow(_api):
        begun.set()
        released.wait(20)

    async def hurry(engine):
        waiting = asyncio.ensure_future(engine.call(slow))
        await asyncio.to_thread(begun.wait, 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with fake_engine(tmp_path / "s", {"ApiVersion": "1.41"}) as host:
        engine = Engine(host)
        asyncio.run(hurry(engine))
        assert not released.is_set()
        released.set()
        asyncio.run(engine.call(lambda api: api.close()))
