"""Deploy hooks: what they are told, when they are run, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import stat
import sys
import threading
from socketserver import BaseRequestHandler, ThreadingTCPServer

import psutil
import pytest

from autogit.core.settings import build_settings
from autogit.errors import CertificateError, RejectedError, SettingsError, UnavailableError
from autogit.model.cert_hooks import DeployHook, command_digest, hook_address
from autogit.model.plan import Action
from autogit.model.resource import Resource
from autogit.providers.base import Scope
from autogit.providers.ssl.hooks import CertHooks
from autogit.providers.ssl.local import LocalIssuer
from autogit.testing.contracts import ReconcilerContract
from tests.providers.ssl.test_local import DOMAIN, wish_for

pytestmark = pytest.mark.integration
TOLD = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w')); sys.exit(int(sys.argv[2]))"


class Hooks(CertHooks):
    """Hooks that are in a hurry."""

    hook_seconds = 5.0
    served_seconds = 0.2


@pytest.fixture
def hooks(context):
    return Hooks(context)


@pytest.fixture(autouse=True)
def certificate(context, carry_out):
    """Two versions in the store."""
    issuer = LocalIssuer(context)
    return [carry_out(issuer, wish_for(context, version)).attributes["serial"] for version in (1, 2)]


def hook_for(context, words, version=1, port=0):
    hook = DeployHook(tuple(map(str, words)), wish_for(context, version).payload, (DOMAIN,), "127.0.0.1", port)
    attributes = {"version": version, "command": command_digest(hook.words)}
    return Resource(hook_address(hook.words), attributes, payload=hook)


def telling(path, code=0):
    return [sys.executable, "-c", TOLD, path, code]


def seen(hooks, wish):
    found = asyncio.run(hooks.observe(Scope(desired={wish.address: wish})))
    return [dict(one.attributes) for one in found]


class TestHooksContract(ReconcilerContract):
    @pytest.fixture
    def provider(self, hooks):
        return hooks

    @pytest.fixture
    def wishes(self, context):
        return [hook_for(context, ["true"]), hook_for(context, ["true", "again"])]

    @pytest.fixture
    def other_wishes(self, context):
        return [hook_for(context, ["true"], 2), hook_for(context, ["true", "again"], 2)]


def test_a_hook_is_told_the_certificate_by_paths_and_nothing_of_autogits_own(
    hooks, context, carry_out, certificate, tmp_path, monkeypatch
):
    monkeypatch.setenv("AUTOGIT_TEST_SECRET", "hunter2-hunter2")
    wish = hook_for(context, telling(tmp_path / "told", 0))
    assert carry_out(hooks, wish).ok
    told = json.loads((tmp_path / "told").read_text())
    folder = context.paths.certs / DOMAIN / "v1"
    own = {name: value for name, value in told.items() if name.startswith("AUTOGIT_")}
    not_after = own.pop("AUTOGIT_CERT_NOT_AFTER")
    assert not_after.endswith("Z")
    assert own == {
        "AUTOGIT_CERT_NAME": DOMAIN,
        "AUTOGIT_CERT_NAMES": f"{DOMAIN} *.{DOMAIN}",
        "AUTOGIT_CERT_SERIAL": certificate[0],
        "AUTOGIT_CERT_FULLCHAIN": str(folder / "fullchain.pem"),
        "AUTOGIT_CERT_KEY": str(folder / "key.pem"),
        "AUTOGIT_CERT_FOLDER": str(folder),
    }
    others = set(told) - set(own) - {"AUTOGIT_CERT_NOT_AFTER", "LC_CTYPE"}
    assert others <= {"PATH", "HOME", "LANG"}
    assert "PATH" in others


def test_what_was_delivered_is_in_sync_and_another_version_or_command_is_not(hooks, context, carry_out):
    wish = hook_for(context, ["true"])
    assert seen(hooks, wish) == []
    carry_out(hooks, wish)
    assert seen(hooks, wish) == [dict(wish.attributes)]
    assert seen(hooks, hook_for(context, ["true", "else"])) == []
    assert stat.S_IMODE(hooks.record_file.stat().st_mode) == 0o600
    carry_out(hooks, wish, Action.DELETE)
    assert seen(hooks, wish) == []


def test_no_shell_reads_the_words(hooks, context, carry_out, tmp_path):
    words = [
        sys.executable,
        "-c",
        "import sys; open(sys.argv[1], 'w').write(sys.argv[2])",
        tmp_path / "said",
        "$HOME;*",
    ]
    assert carry_out(hooks, hook_for(context, words)).ok
    assert (tmp_path / "said").read_text() == "$HOME;*"


def test_a_hook_that_fails_is_told_with_its_last_line_and_is_run_again(hooks, context, carry_out, tmp_path):
    script = tmp_path / "deliver"
    script.write_text("#!/bin/sh\necho first\necho no such host >&2\necho\nexit 3\n")
    script.chmod(0o755)
    wish = hook_for(context, [script])
    outcome = carry_out(hooks, wish)
    assert isinstance(outcome.error, RejectedError)
    assert outcome.error.message.endswith("deliver failed with exit code 3")
    assert outcome.error.context == (f"{script}: no such host",)
    assert seen(hooks, wish) == []
    assert hooks.deliveries()[wish.address.name].failed_version == 1
    script.write_text("#!/bin/sh\nexit 0\n")
    assert carry_out(hooks, wish).ok
    assert hooks.deliveries()[wish.address.name].failure == ""


def test_a_failure_leaves_the_version_that_was_delivered_before(hooks, context, carry_out, tmp_path):
    (tmp_path / "deliver").symlink_to("/bin/true")
    words = [tmp_path / "deliver"]
    assert carry_out(hooks, hook_for(context, words)).ok
    (tmp_path / "deliver").unlink()
    (tmp_path / "deliver").symlink_to("/bin/false")
    assert not carry_out(hooks, hook_for(context, words, 2)).ok
    (kept,) = seen(hooks, hook_for(context, words, 2))
    assert kept["version"] == 1


def test_a_program_that_is_not_there_is_named(hooks, context, carry_out):
    outcome = carry_out(hooks, hook_for(context, ["/nowhere/deliver"]))
    assert isinstance(outcome.error, RejectedError)
    assert "/nowhere/deliver cannot be run: No such file" in outcome.error.message


def test_the_keys_text_is_not_in_what_is_told_of_a_failure(hooks, context, carry_out):
    key = (context.paths.certs / DOMAIN / "v1" / "key.pem").read_text().splitlines()
    program = "import os; print(open(os.environ['AUTOGIT_CERT_KEY']).read().splitlines()[1]); raise SystemExit(1)"
    outcome = carry_out(hooks, hook_for(context, [sys.executable, "-c", program]))
    assert outcome.error.context == (f"{sys.executable}: (secret)",)
    assert key[1] not in hooks.record_file.read_text()


def test_a_hook_that_does_not_end_is_ended_with_all_that_it_started(hooks, context, carry_out, tmp_path):
    hooks.hook_seconds = 0.5
    program = (
        "import subprocess, sys, time; child = subprocess.Popen(['sleep', '600']);"
        "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(600)"
    )
    outcome = carry_out(hooks, hook_for(context, [sys.executable, "-c", program, tmp_path / "pid"]))
    assert isinstance(outcome.error, UnavailableError)
    assert "did not end within 0.5 seconds" in outcome.error.message
    if (tmp_path / "pid").exists():
        assert is_gone(int((tmp_path / "pid").read_text()))


def is_gone(pid):
    try:
        psutil.Process(pid).wait(10)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_daemon_that_a_hook_starts_holds_nobody_up(hooks, context, carry_out, tmp_path):
    script = tmp_path / "start"
    script.write_text("#!/bin/sh\nsleep 30 &\necho $! > pid\nexit 0\n")
    script.chmod(0o755)
    assert carry_out(hooks, hook_for(context, [script])).ok
    pid = int((context.paths.root / "pid").read_text())  # it is run in the project's folder
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)


class Serving(ThreadingTCPServer):
    """Serves one version of the certificate over TLS."""

    daemon_threads = True

    def __init__(self, folder):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "fullchain.pem", folder / "key.pem")
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, _request, _address):
        """Who only looks hangs up."""


class Handler(BaseRequestHandler):
    def handle(self):
        with self.server.tls.wrap_socket(self.request, server_side=True):
            pass


@contextlib.contextmanager
def serving(folder):
    with Serving(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_hook_is_run_for_what_is_served_only(hooks, context, carry_out, tmp_path, certificate):
    words = telling(tmp_path / "told", 0)
    with serving(context.paths.certs / DOMAIN / "v1") as port:
        outcome = carry_out(hooks, hook_for(context, words, 2, port))
        assert isinstance(outcome.error, CertificateError)
        assert f"v2 of {DOMAIN} is not served for {DOMAIN}: {certificate[0]} is" in outcome.error.message
        assert not (tmp_path / "told").exists()
        assert carry_out(hooks, hook_for(context, words, 1, port)).ok
    assert (tmp_path / "told").exists()


def test_records_that_cannot_be_read_have_every_hook_run_again(hooks, context, carry_out):
    wish = hook_for(context, ["true"])
    for text in ("", "[]", '{"x": 1}', '{"x": {"y": 1}}', "\x00"):
        hooks.record_file.write_text(text)
        assert seen(hooks, wish) == []
        assert carry_out(hooks, wish).ok
        assert seen(hooks, wish) == [dict(wish.attributes)]


def test_hooks_of_one_program_have_addresses_of_their_own():
    first, second = hook_address(("docker", "exec", "a")), hook_address(("/usr/bin/docker", "exec", "b"))
    assert first.kind == "cert_hook"
    assert first.name.startswith("docker-")
    assert second.name.startswith("docker-")
    assert first != second
    assert hook_address(("/opt/my tool",)).name.startswith("my_tool-")


@pytest.mark.parametrize(
    "value",
    ["systemctl reload x", '["a", "b"]', "[[]]", '[[""]]', "[[1]]", '[["a"], ["a"]]', '{"a": 1}', '[["a\\u0000"]]'],
)
def test_what_is_no_list_of_commands_is_a_fault_of_its_line(tmp_path, value):
    with pytest.raises(SettingsError) as refused:
        build_settings({"CERT_DEPLOY_HOOKS": value}, [], env_dir=tmp_path)
    assert [fault.subject.partition("=")[0] for fault in refused.value.faults] == ["CERT_DEPLOY_HOOKS"]


def test_commands_come_back_from_what_the_lockfile_keeps_of_them(tmp_path):
    text = '[["sh", "-c", "a, b"], ["true"]]'
    known = build_settings({"CERT_DEPLOY_HOOKS": text}, [], env_dir=tmp_path)
    assert known.cert_deploy_hooks == (("sh", "-c", "a, b"), ("true",))
    kept = known.effective()["CERT_DEPLOY_HOOKS"]
    assert (
        build_settings({"CERT_DEPLOY_HOOKS": kept}, [], env_dir=tmp_path).cert_deploy_hooks == known.cert_deploy_hooks
    )
