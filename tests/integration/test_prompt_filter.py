"""The prompt filter at the ingress: the real Traefik with the plugin, the real verdict service, a stand-in forge."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path

import brotli
import psutil
import pytest
import zstandard

from tests.integration.conftest import end_installation, make_installation
from tests.integration.filter_lab import ATTACK, CLEAN, HOST, JSON, LIMIT, begin, noise, wait

pytestmark = pytest.mark.integration

WATCHED = "watched.autogit.localhost"
MB = 1 << 20


@pytest.fixture(scope="module")
def lab():
    folder = Path(tempfile.mkdtemp(prefix="autogit-"))
    one = make_installation(folder)
    try:
        yield begin(one)
    finally:
        end_installation(one)
        shutil.rmtree(folder, ignore_errors=True)


def test_an_injected_issue_is_held_back_and_kept_and_says_how_it_is_released(lab):
    seen = len(lab.reached())
    answer = lab.issue(ATTACK)
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    kept = answer.json["quarantine_id"]
    assert f"autogit quarantine release {kept}" in answer.json["detail"]
    assert answer.headers["X-AutoGit-Quarantine"] == kept
    assert float(answer.headers["X-AutoGit-Risk"]) >= 0.7
    assert ATTACK not in answer.body.decode()
    assert len(lab.reached()) == seen
    record = next(one for one in lab.quarantined() if one["id"] == kept)
    assert (record["service"], record["analysis_status"]) == ("forge", "pending")
    assert record["request_id"] == answer.headers["X-Request-Id"] == answer.json["request_id"]


def test_a_clean_issue_passes_with_its_risk_and_an_id(lab):
    answer = lab.issue(CLEAN, **{"X-Request-Id": "from-the-client.1"})
    assert answer.status == 200
    got = lab.reached()[-1]
    assert json.loads(got["begin"])["description"] == CLEAN
    assert float(got["headers"]["x-autogit-risk"]) == float(answer.headers["X-AutoGit-Risk"]) < 0.5
    assert got["headers"]["x-request-id"] == "from-the-client.1"


def test_a_released_text_passes_from_then_on_whatever_stands_around_it(lab):
    text = f"{ATTACK} (an example for our manual)"
    kept = lab.issue(text).json["quarantine_id"]
    lab.installation.run("quarantine", "release", kept, "--reason", "it is an example")
    assert lab.issue(text, title="Another title").status == 200
    assert lab.issue(text, title=ATTACK).status == 422


def test_what_only_is_watched_passes_with_its_risk(lab):
    answer = lab.issue(ATTACK, host=WATCHED)
    assert answer.status == 200
    assert float(lab.reached("watched")[-1]["headers"]["x-autogit-risk"]) >= 0.7
    long = lab.ask("POST", "/x", ATTACK + " " * LIMIT, {"Content-Type": "text/plain"}, WATCHED)
    assert long.status == 200
    assert lab.reached("watched")[-1]["length"] == len(ATTACK) + LIMIT
    assert lab.reached("watched")[-1]["headers"]["x-autogit-risk"] == "unknown"


@pytest.mark.parametrize("path", ["/x", "/raw/x", "/group/project.git/x"])
def test_nobody_outside_can_claim_a_verdict(lab, path):
    lab.ask("GET", path, headers={"X-AutoGit-Risk": "0.00", "x-autogit-action": "pass"})
    assert path.endswith("git/x") or "x-autogit-risk" not in lab.reached()[-1]["headers"]
    answer = lab.issue(ATTACK, **{"X-AutoGit-Mode": "monitor", "X-AutoGit-Action": "pass", "X_AutoGit_Mode": "monitor"})
    assert answer.status == 422


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps({"a": [{"b": {"key": ATTACK}}]})),
        ("application/json", json.dumps({"a": [{ATTACK: 1}]})),
        ("application/json", '{"text": "' + ATTACK + '", "text": "harmless"}'),
        ("application/json; charset=utf-16", json.dumps({"text": ATTACK}).encode("utf-16")),
        ("application/vnd.api+json", json.dumps({"text": ATTACK})),
        ("application/x-www-form-urlencoded", "title=x&note%5Btext%5D=" + ATTACK.replace(" ", "+")),
        ("text/markdown", f"# Notes\n\n{ATTACK}\n"),
        (
            "multipart/form-data; boundary=zz",
            f'--zz\r\nContent-Disposition: form-data; name="t"\r\n\r\n{ATTACK}\r\n--zz--',
        ),
        (None, ATTACK),
        # There are services that take JSON without a look at its type.
        ("image/png", json.dumps({"text": ATTACK})),
        ("application/octet-stream", f"\n{ATTACK}"),
        ("application/x-unheard-of", json.dumps({"text": ATTACK}).encode("utf-16-le")),
        ("text/plain; charset=iso-8859-99", ATTACK),
        ("text/plain; charset=ibm1047", ATTACK.encode("cp037")),
    ],
)
def test_every_form_of_text_is_judged(lab, kind, body):
    headers = {"Content-Type": kind} if kind else {}
    assert lab.ask("POST", "/x", body, headers).status == 422
    assert lab.ask("PUT", "/x", iter([body.encode() if isinstance(body, str) else body]), headers).status == 422


def test_a_body_is_judged_whatever_the_method(lab):
    assert lab.ask("GET", "/x", ATTACK, {"Content-Type": "text/plain"}).status == 422


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_compressed_bodies_are_judged_and_bombs_are_too_large(lab, encoding):
    packed = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}[encoding]
    headers = {**JSON, "Content-Encoding": encoding}
    assert lab.ask("POST", "/x", packed(json.dumps({"text": ATTACK}).encode()), headers).status == 422
    body = packed(json.dumps({"text": CLEAN}).encode())
    assert lab.ask("POST", "/x", body, headers).json["sha256"] == hashlib.sha256(body).hexdigest()
    assert lab.ask("POST", "/x", packed(bytes(64 * MB))[:LIMIT], headers).status == 413
    assert lab.ask("POST", "/x", b"{}", {**JSON, "Content-Encoding": "lzw"}).status == 415


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_a_compressed_text_is_judged_whatever_type_it_claims(lab, encoding):
    packed = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}[encoding]
    headers = {"Content-Type": "image/png", "Content-Encoding": encoding}
    assert lab.ask("POST", "/x", packed(ATTACK.encode()), headers).status == 422


@pytest.mark.parametrize(
    ("kind", "begin", "encoding"),
    [
        ("application/pdf", b"%PDF-1.7\n" + b"1 0 obj << /Type /Catalog >>\n" * 30, ""),
        ("application/x-tar", tarfile.TarInfo("a").tobuf() + ATTACK.encode() * 2000, ""),
        ("application/x-protobuf", b"\x0a\x04\x01\x02", "gzip"),
        ("application/x-protobuf", b"\xff\x06\0\0sNaPpY", "snappy"),
        ("application/octet-stream", b"10000;chunk-signature=00\r\n", "aws-chunked"),
        ("application/grpc", b"\0\0\0\0\x05", ""),
    ],
)
def test_what_is_not_text_passes_unread_at_any_size(lab, kind, begin, encoding):
    body = begin + noise(3 * LIMIT)
    body = gzip.compress(body) if encoding == "gzip" else body
    answer = lab.ask("POST", "/x", body, {"Content-Type": kind, **({"Content-Encoding": encoding} if encoding else {})})
    assert answer.json["sha256"] == hashlib.sha256(body).hexdigest()
    assert "X-AutoGit-Risk" not in answer.headers


@pytest.mark.parametrize("name", ["Content-Type", "X-Request-Id", "X-Long"])
def test_no_header_is_long_enough_to_get_around_a_verdict(lab, name):
    headers = {"Content-Type": "text/plain", name: f"text/plain; x={'y' * 100000}"}
    assert lab.ask("POST", "/x?" + "z" * 100000, ATTACK, headers).status == 422
    assert lab.ask("POST", "/x", ATTACK, {**headers, "Content-Encoding": "gzip" + ", gzip" * 20000}).status == 415


def test_a_text_above_the_limit_is_413(lab):
    for body in ("x" * (LIMIT + 1), iter([b"x" * 50000, b"x" * 50000])):
        answer = lab.ask("POST", "/x", body, {"Content-Type": "text/plain"})
        assert (answer.status, answer.json["title"]) == (413, "body-too-large")
    assert lab.ask("POST", "/x", "x" * LIMIT, {"Content-Type": "text/plain"}).status == 200


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_each_version_of_http_is_answered_in_full(lab, tmp_path, version):
    (tmp_path / "attack").write_text(ATTACK)
    (tmp_path / "large").write_bytes(noise(3 * MB))

    def ask(file, kind):
        words = ["curl", "-sS", version, "--cacert", lab.installation.root_certificate, "-o", tmp_path / "answer"]
        words += ["-w", "%{http_code}", "-H", f"Content-Type: {kind}", "-H", "Expect: 100-continue"]
        words += ["--data-binary", f"@{tmp_path / file}", f"https://{HOST}:{lab.installation.https_port}/x"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert ask("attack", "text/plain") == 422
    assert ask("large", "text/plain") == 413
    assert ask("large", "application/octet-stream") == 200


def test_what_the_catalogue_names_is_not_judged(lab):
    assert lab.ask("POST", "/raw/x", ATTACK).status == 200
    assert lab.ask("PUT", "/reports/x", ATTACK).status == 200
    assert lab.ask("POST", "/reports/x", ATTACK).status == 422


def test_a_large_push_in_chunks_passes_untouched(lab, tmp_path):
    served = lab.root / ".autogit" / "data" / "forge" / "group" / "project.git"
    work = tmp_path / "work"
    git = [
        "git",
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@example.com",
        "-c",
        f"http.sslCAInfo={lab.installation.root_certificate}",
    ]

    def run(*words, cwd=tmp_path):
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run([*git, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    run("init", "-q", "--bare", str(served))
    run("init", "-q", "-b", "main", str(work))
    (work / "blob").write_bytes(noise(8 * MB))
    (work / "README.md").write_text(ATTACK)
    run("add", ".", cwd=work)
    run("commit", "-q", "-m", "A large file", cwd=work)
    # As curl resolves *.localhost itself, git finds the ingress without any name server.
    url = f"https://{HOST}:{lab.installation.https_port}/group/project.git"
    run("push", "-q", url, "main", cwd=work)
    pushed = next(one for one in reversed(lab.reached()) if one["path"].endswith("/git-receive-pack"))
    assert pushed["length"] > 8 * MB
    assert pushed["encoding"] == "chunked"
    assert run("ls-remote", url, "main").split()[0] == run("rev-parse", "main", cwd=work)


def test_a_large_upload_streams_through_and_is_not_kept_in_memory(lab):
    traefik = psutil.Process(lab.installation.process_pid("traefik"))
    before, size, digest = traefik.memory_info().rss, 100 * MB, hashlib.sha256()
    block = noise(MB)

    def blocks():
        for _ in range(size // MB):
            digest.update(block)
            yield block

    answer = lab.ask("POST", "/x", blocks(), {"Content-Type": "application/octet-stream"})
    assert answer.status == 200
    assert (answer.json["length"], answer.json["sha256"]) == (size, digest.hexdigest())
    assert "X-AutoGit-Risk" not in answer.headers
    assert traefik.memory_info().rss - before < 40 * MB


def test_a_websocket_passes_both_ways(lab):
    with lab.connect() as link:
        link.sendall(
            f"GET /x HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n".encode()
        )
        with link.makefile("rb") as lines:
            assert lines.readline().split()[1] == b"101"
            assert http.client.parse_headers(lines)["Upgrade"] == "websocket"
            for word in (b"one", ATTACK.encode()):
                link.sendall(word)
                assert lines.read(6 + len(word)) == b"heard " + word


def test_killed_workers_let_nothing_pass_unjudged_and_are_replaced(lab):
    answers, ended = [], threading.Event()

    def send():
        while not ended.is_set():
            answers.append(lab.issue(ATTACK).status)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for one in threads:
        one.start()
    seen = len(lab.reached())
    for _ in range(3):
        wait(lambda: len(lab.workers()) == 2)
        for worker in lab.workers():
            worker.send_signal(signal.SIGKILL)
        asked = len(answers)
        wait(lambda asked=asked: answers[asked:].count(422) >= 3)
    psutil.Process(lab.installation.process_pid("prompt-filter")).send_signal(signal.SIGKILL)
    asked = len(answers)
    wait(lambda: answers[asked:].count(422) >= 3)
    ended.set()
    for one in threads:
        one.join()
    assert set(answers) <= {422, 503}
    assert len(lab.reached()) == seen


def test_what_is_down_or_slow_is_503_in_closed_mode_and_is_counted(lab):
    lab.stop_filter()
    answer = lab.issue(CLEAN)
    assert (answer.status, answer.json["title"]) == (503, "prompt-filter-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert lab.issue(ATTACK, host=WATCHED).status == 200
    assert lab.ask("GET", "/x").status == 200
    lab.start_filter()
    wait(lambda: lab.issue(CLEAN).status == 200)
    workers = lab.workers()
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    assert lab.issue(CLEAN).status == 503
    for worker in workers:
        worker.send_signal(signal.SIGCONT)
    wait(lambda: lab.issue(CLEAN).status == 200)
    assert lab.metric("autogit_prompt_filter_unjudged_total") >= 3
    log = (lab.root / ".autogit" / "logs" / "traefik.log").read_text()
    assert "a text could not be judged" in log


def test_the_plan_tells_modes_and_what_becomes_of_the_unjudged(lab):
    said = lab.installation.first_up.stderr + lab.installation.first_up.stdout
    assert "texts for forge: held back" in said
    assert "texts for watched: watched only" in said
    assert "PROMPT_FILTER_FAIL=closed" in said


def test_open_mode_lets_pass_what_cannot_be_judged(lab):
    lab.installation.set(PROMPT_FILTER_FAIL="open")
    lab.installation.run("up")
    lab.stop_filter()
    try:
        wait(lambda: lab.issue(CLEAN).status == 200)
        assert lab.reached()[-1]["headers"]["x-autogit-risk"] == "unknown"
    finally:
        lab.start_filter()
    wait(lambda: lab.issue(ATTACK).status == 422)


def test_block_mode_refuses_the_worst(lab):
    lab.installation.set(PROMPT_FILTER="block", SECURITY_THRESHOLDS="default:0.2/0.3/0.4")
    lab.installation.run("up")
    wait(lambda: lab.issue(ATTACK).status == 403)
    answer = lab.issue(ATTACK)
    assert answer.json["title"] == "prompt-blocked"
    assert answer.json["quarantine_id"] in {one["id"] for one in lab.quarantined()}
