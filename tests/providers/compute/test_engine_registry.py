"""What registries say: each fault in a reader's words, asked again where that may help."""

from __future__ import annotations

import asyncio

import pytest

from autogit.errors import RejectedError, StorageFullError, UnavailableError
from autogit.model.container import ImageSpec
from autogit.providers.compute.engine import images, registry
from autogit.providers.compute.engine.client import fault_of

DIGEST = f"sha256:{'c' * 64}"


class FakeEngine:
    """Answers with what it is given, one after the other; an error is raised, the last one goes on."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def call(self, work):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    async def pass_by(_seconds):
        pass

    monkeypatch.setattr(asyncio, "sleep", pass_by)


HUB = 'Get "https://registry-1.docker.io/v2/": '


@pytest.mark.parametrize(
    ("said", "means", "final"),
    [
        (f"{HUB}dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: no such host", "(no such host)", True),
        (f"{HUB}dial tcp: lookup registry-1.docker.io: server misbehaving", "(no name service)", False),
        (f"{HUB}dial tcp 1.2.3.4:443: connect: connection refused", "(connection refused)", False),
        (f"{HUB}dial tcp 1.2.3.4:443: connect: network is unreachable", "(no way to it)", False),
        (f"{HUB}dial tcp 1.2.3.4:443: i/o timeout", "(no answer in time)", False),
        (f"{HUB}context deadline exceeded (Client.Timeout exceeded while awaiting headers)", "no answer in", False),
        (f"{HUB}EOF", "(the connection broke)", False),
        ("received unexpected HTTP status: 503 Service Unavailable", "its registry fails (503 Service Unav", False),
        ("toomanyrequests: You have reached your pull rate limit.", "its registry gives no more for now", True),
        ("manifest for x:9 not found: manifest unknown: manifest unknown", "its registry does not have it", True),
        ("pull access denied for x, repository does not exist or may require 'docker login'", "docker login", True),
        ("no matching manifest for linux/arm64/v8 in the manifest list", "for this machine (linux/arm64/v8)", True),
        ("x509: certificate signed by unknown authority", "(certificate signed by unknown authority)", True),
        ("http: server gave HTTP response to HTTPS client", "insecure-registries must name it", True),
        ("something new", "something new", False),
    ],
)
def test_what_an_engine_says_of_a_registry_is_put_in_short_words(said, means, final):
    meaning = registry.meaning_of(f"docker: {said}", "traefik:3")
    assert means in meaning.words
    assert meaning.final is final
    assert "10.0.0.1" not in meaning.words


@pytest.mark.parametrize(
    ("reference", "command"),
    [
        ("reg.example/x:1", "docker login reg.example"),
        ("127.0.0.1:5000/a/x:1", "docker login 127.0.0.1:5000"),
        ("localhost/x:1", "docker login localhost"),
        ("grafana/loki:3", "docker login"),
        ("traefik:3", "docker login"),
    ],
)
def test_a_login_is_for_the_registry_of_the_image(reference, command):
    words = registry.meaning_of("unauthorized: authentication required", reference).words
    assert words == f"its registry wants a login: {command}"


def test_a_registry_that_fails_is_asked_three_times():
    told = []
    engine = FakeEngine(RejectedError("docker: connection refused"), RejectedError("docker: EOF"), "here")
    asked = registry.with_patience(engine, lambda api: api, "x:1", told.append, 1.0)
    assert asyncio.run(asked) == "here"
    assert told == [
        "pulling x:1 failed, trying again: its registry cannot be reached (connection refused)",
        "pulling x:1 failed, trying again: its registry cannot be reached (the connection broke)",
    ]
    engine = FakeEngine(RejectedError("docker: connection refused"))
    with pytest.raises(UnavailableError, match="connection refused"):
        asyncio.run(registry.with_patience(engine, lambda api: api, "x:1", told.append, 1.0))
    assert engine.asked == 3


@pytest.mark.parametrize("fault", [RejectedError("docker: manifest unknown"), StorageFullError("docker: no space")])
def test_what_no_repetition_helps_is_said_at_once(fault):
    engine = FakeEngine(fault)
    with pytest.raises(type(fault)):
        asyncio.run(registry.with_patience(engine, lambda api: api, "x:1", print, 1.0))
    assert engine.asked == 1


def test_an_engine_that_is_lost_is_told_as_that():
    engine = FakeEngine(UnavailableError("docker: the engine at unix:///x does not answer", hint="start it"))
    with pytest.raises(UnavailableError) as lost:
        asyncio.run(images.pull(engine, "x:1", lambda _text: None))
    assert lost.value.message == "docker: x:1 cannot be pulled: the engine at unix:///x does not answer"
    assert lost.value.hint == "start it"


@pytest.mark.parametrize(
    ("made_for", "why"),
    [
        (["amd64", "arm64"], ""),
        (["386"], ""),
        ([], ""),
        (["arm64", "s390x"], "it is made for arm64, s390x, this engine is amd64"),
    ],
)
def test_an_image_for_other_machines_is_known_before_it_is_pulled(made_for, why):
    engine = FakeEngine({"Descriptor": {"digest": DIGEST}, "Platforms": [{"architecture": a} for a in made_for]})
    assert asyncio.run(registry.why_not_pulled(engine, ImageSpec("x:1", "catalogue"), "amd64")) == why
    assert asyncio.run(registry.digest_of(engine, "x:1")) == DIGEST


def test_an_engine_that_asks_no_registry_is_not_in_the_way():
    engine = FakeEngine(RejectedError("docker: Path /v1.41/distribution/x:1/json is not supported"))
    assert asyncio.run(registry.why_not_pulled(engine, ImageSpec("x:1", "catalogue"), "amd64")) == ""
    with pytest.raises(RejectedError, match="asks no registry"):
        asyncio.run(registry.digest_of(engine, "x:1"))


def test_a_registry_is_asked_by_digest_where_one_is_held_to():
    assert registry.by_digest(ImageSpec("reg:5000/x:1", "catalogue", digest=DIGEST)) == f"reg:5000/x@{DIGEST}"
    assert registry.by_digest(ImageSpec("reg:5000/x:1", "catalogue")) == "reg:5000/x:1"


def test_a_full_disk_of_the_engine_is_not_a_registrys_fault():
    fault = fault_of("failed to register layer: write /usr/lib/x: no space left on device")
    assert isinstance(fault, StorageFullError)
    assert "docker system df" in fault.hint


class FakeClient:
    """The SDK's client, as far as a pull goes."""

    def __init__(self, rows):
        self.rows = rows

    def pull(self, repository, *, tag, stream, decode):
        self.asked = (repository, tag)
        yield from self.rows


def test_progress_counts_what_has_come_and_then_what_is_unpacked():
    rows = [
        {"status": "Pulling from x", "id": "1.0"},
        {"status": "Downloading", "id": "one", "progressDetail": {"current": 1_000_000, "total": 4_000_000}},
        {"status": "Downloading", "id": "two", "progressDetail": {"current": 500_000, "total": 1_000_000}},
        {"status": "Already exists", "id": "three"},
        {"status": "Download complete", "id": "two"},
        {"status": "Extracting", "id": "two", "progressDetail": {"current": 1_000_000, "total": 1_000_000}},
        {"status": "Download complete", "id": "one"},
        {"status": "Extracting", "id": "one", "progressDetail": {"current": 2_000_000, "total": 4_000_000}},
    ]
    progress = images._Progress()
    assert [str(progress) for row in rows if progress.take(row)] == [
        "1.0 of 4.0 MB",
        "1.5 of 5.0 MB",
        "2.0 of 5.0 MB",
        "2.0 of 5.0 MB",
        "5.0 MB are here, 1.0 unpacked",
        "5.0 MB are here, 3.0 unpacked",
    ]


def test_progress_is_told_once_a_second_at_most():
    told, client = [], FakeClient([{"status": "Downloading", "id": "one", "progressDetail": {"total": 10**7}}] * 99)
    images._pull(client, "reg:5000/x:1.0", told.append)
    assert client.asked == ("reg:5000/x", "1.0")
    assert told == ["pulling reg:5000/x:1.0: 0.0 of 10.0 MB"]


def test_a_pull_by_digest_names_the_digest_and_its_faults_are_raised():
    client = FakeClient([{"status": "Pulling"}, {"error": "toomanyrequests: slow down"}])
    with pytest.raises(RejectedError, match="toomanyrequests"):
        images._pull(client, f"reg:5000/x@{DIGEST}", print)
    assert client.asked == ("reg:5000/x", DIGEST)
