"""Who else gets a certificate, who else may sign it, and what is put right: the command line with real servers."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import tempfile
from pathlib import Path

import psutil
import pytest
from cryptography import x509

from tests.integration.certs_lab import handshake, laboratory
from tests.integration.conftest import end_installation, free_ports, make_installation
from tests.providers.ssl.pebble import PebbleServer

pytestmark = pytest.mark.integration

DOMAIN, HOST = "autogit.localhost", "api.autogit.localhost"
TLS = "file/traefik/dynamic/tls.yml"
FAILED, USAGE, PARTLY = 1, 2, 4
HOOK = """#!/bin/sh
if [ -e fail ]; then echo "the mail server is away" >&2; exit 7; fi
echo "$AUTOGIT_CERT_SERIAL" >> delivered
"""


class Home:
    """A platform with the local authority and one hook; `delivered` are the serials that the hook was run for."""

    def __init__(self, installation):
        self.it, self.run = installation, installation.run
        self.hook = installation.root / "hook"
        self.hook.write_text(HOOK)
        self.hook.chmod(0o755)
        self.name = None

    def hooks(self, *more):
        self.it.set(CERT_DEPLOY_HOOKS=f"'{json.dumps([[str(self.hook)], *more])}'")

    @property
    def delivered(self):
        return (self.it.root / "delivered").read_text().split()

    @property
    def store(self):
        return self.it.root / ".autogit" / "certs" / DOMAIN

    @property
    def newest(self):
        return max(self.store.glob("v*"), key=lambda path: int(path.name[1:]))

    def on_disk(self):
        leaf = x509.load_pem_x509_certificates((self.newest / "fullchain.pem").read_bytes())[0]
        return f"{leaf.serial_number:x}"

    def served(self):
        root = self.it.root_certificate.read_text()
        return f"{handshake(self.it.https_port, HOST, root).serial_number:x}"

    def status(self, expect=0):
        return self.it.json("certs", "status", expect=expect)["certificates"][0]


@pytest.fixture(scope="module")
def home():
    folder = Path(tempfile.mkdtemp(prefix="autogit-hooks-"))
    one = Home(make_installation(folder))
    one.hooks()
    try:
        one.first_plan = one.run("plan").stdout
        one.first_up = one.run("up", "--yes")
        yield one
    finally:
        end_installation(one.it)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_hook_is_run_for_the_first_certificate_and_once(home):
    assert "cert_hook/hook-" in home.first_plan
    assert home.delivered == [home.on_disk()]
    assert "Nothing to do" in home.run("up").stdout
    home.run("plan", "--exit-code")
    assert "nothing to do" in home.run("certs", "renew").stdout
    assert home.delivered == [home.on_disk()]
    (hook,) = home.status()["hooks"]
    assert (hook["version"], hook["sentence"], hook["command"]) == (1, "", [str(home.hook)])
    (home.it.root / ".autogit" / "certs" / "hooks.json").unlink()
    home.run("up", "--yes")
    assert home.delivered == [home.on_disk()] * 2, "what is not known to be delivered is delivered"


def test_a_hook_that_failed_is_told_shown_and_run_by_the_next_renewal_though_nothing_is_due(home):
    (home.it.root / "fail").touch()
    said = home.run("certs", "renew", "--force", expect=PARTLY).stderr
    assert f"{home.hook} failed with exit code 7" in said
    assert "the mail server is away" in said
    assert home.served() == home.on_disk(), "the ingress serves it all the same"
    told = home.status(expect=FAILED)
    assert told["level"] == "error"
    assert "has not delivered v" in told["sentence"]
    assert "exit code 7" in told["sentence"]
    home.run("up", "--yes", expect=PARTLY)
    (home.it.root / "fail").unlink()
    version, port = home.newest, home.it.https_port
    home.it.set(HTTPS_PORT=free_ports(1)[0])  # it waits for up: nothing listens there yet
    done = home.it.json("certs", "renew")
    home.it.set(HTTPS_PORT=port)
    assert [one["address"].partition("-")[0] for one in done["applied"]] == ["cert_hook/hook"]
    assert (home.newest, home.delivered[-1]) == (version, home.on_disk())
    assert home.status()["level"] == "ok"
    assert "Nothing to do" in home.run("up").stdout


def test_a_new_hook_waits_for_up_and_one_that_is_gone_is_forgotten(home):
    home.hooks(["true", "of the second"])
    count = len(home.delivered)
    said = home.run("certs", "renew").stdout
    assert "cert_hook/true-" in said
    assert "waits for autogit up" in said
    assert "has not delivered" in home.status(expect=FAILED)["sentence"]
    home.run("up", "--yes")
    assert home.status()["level"] == "ok"
    home.hooks()
    home.run("up", "--yes")
    assert len(home.delivered) == count, "nobody else's hook is run again"
    assert [one for one in home.it.lockfile["resources"] if one.startswith("cert_hook/true")] == []


def test_a_certificate_that_is_not_served_is_put_right_by_a_renewal_with_nothing_due(home):
    home.run("certs", "renew", "--force")
    former = home.store / f"v{int(home.newest.name[1:]) - 1}"
    for file in ("fullchain.pem", "key.pem"):  # in place: no ingress notices
        (home.newest / file).write_bytes((former / file).read_bytes())
    assert home.served() != home.on_disk()
    assert home.status(expect=FAILED)["sentence"] == "what is served is not what is on disk"
    assert "put right" in home.run("certs", "renew").stdout
    assert home.served() == home.on_disk()
    assert home.status()["level"] == "ok"


def test_what_cannot_be_put_right_is_a_failure_of_the_renewal(home):
    process = psutil.Process(home.it.process_pid("traefik"))
    process.send_signal(signal.SIGSTOP)
    try:
        said = home.run("certs", "renew", expect=FAILED).stderr
    finally:
        process.send_signal(signal.SIGCONT)
    assert "is not what is served" in said
    assert HOST in said
    beat = json.loads((home.it.root / ".autogit" / "heartbeats" / "certs-renew.json").read_text())
    assert beat["result"] == "failed"


def test_the_file_that_names_the_certificate_cannot_be_adopted(home):
    file = home.it.root / ".autogit" / "rendered" / TLS.removeprefix("file/")
    former = file.read_text()
    fresh = file.parent.parent / ".by-hand"
    fresh.write_text(former + "# by hand\n")
    fresh.replace(file)
    said = home.run("drift", "--adopt", TLS, expect=USAGE).stderr
    assert "no renewal would be served" in said
    assert f"drift --revert {TLS}" in said
    assert not (home.it.root / "overrides" / "files").exists()
    home.run("drift", "--revert", TLS, "--yes")
    assert file.read_text() == former


def test_show_has_everything_of_the_certificate_but_its_key(home):
    text = home.run("certs", "show").stdout
    told = home.it.json("certs", "show", DOMAIN)
    pem = home.run("certs", "show", "--pem").stdout
    leaf = x509.load_pem_x509_certificate(pem.encode())
    assert told["serial"] == f"{leaf.serial_number:x}" == home.served()
    assert told["names"] == [DOMAIN, f"*.{DOMAIN}"]
    assert (told["issuer"], told["key_type"], told["folder"]) == ("local", "P-256", str(home.newest))
    assert len(told["chain"]) == pem.count("BEGIN CERTIFICATE") == 2
    assert told["sha256"] in text
    assert "PRIVATE" not in text + pem + json.dumps(told)
    assert "there is no certificate of nobody.test" in home.run("certs", "show", "nobody.test", expect=USAGE).stderr
    assert "no accounts" in home.run("certs", "account", expect=USAGE).stderr
    assert "CERT_FALLBACK_ISSUER names none" in home.run("certs", "account", "--fallback", expect=USAGE).stderr
    said = home.run("certs", "revoke", DOMAIN, "--confirm", DOMAIN, expect=USAGE).stderr
    assert "AutoGit's own authority signed that of" in said
    assert "autogit certs renew --force puts one with a new key in its place" in said


@contextlib.contextmanager
def two_authorities(folder):
    """A site whose first authority has another one behind it; both show the same TLS certificate."""
    with laboratory(folder, zones=1) as lab:
        first, second = lab.authority.pebble, PebbleServer(folder / "second", dns=lab.bind.server)
        shutil.copy(first.ca_file, second.ca_file)
        shutil.copy(first.key_file, second.key_file)
        try:
            second.start()
            lab.authority.roots.append(second.root().decode())
            with lab.site(CERT_FALLBACK_ISSUER=second.directory_url) as site:
                yield site, f"127.0.0.1:{second.port}"
        finally:
            second.stop()


def test_a_second_authority_stands_in_for_the_first_and_hands_back(tmp_path):
    with two_authorities(tmp_path) as (site, second):
        first = site.authority.name
        site.authority.stop()
        said = site.run("up", "--yes")
        assert f"issued by {second}: {first}" in said.stderr
        site.is_settled()
        assert "Nothing to do" in site.run("up").stdout
        told = site.status()
        assert (told["issuer"], told["level"]) == (second, "ok")

        site.authority.start()
        site.certs("renew", "--force")
        site.is_settled()
        assert site.status()["issuer"] == first

        account = json.loads(site.certs("account", "--format", "json").stdout)
        assert (account["directory_url"], account["key_mode"]) == (site.authority.shim.directory_url, "0600")
        assert account["uri"]
        key = Path(account["key_file"]).read_bytes()
        site.certs("account", "--roll-over")
        assert Path(account["key_file"]).read_bytes() != key
        refused = site.certs("account", "--deactivate", expect=USAGE).stderr
        assert f"the account at {first} was not closed: that was not confirmed with its name" in refused
        refused = site.certs("account", "--deactivate", "--confirm", "another", expect=USAGE).stderr
        assert f"--confirm {first}" in refused
        other = json.loads(site.certs("account", "--fallback", "--format", "json").stdout)
        assert (other["authority"], bool(other["uri"])) == (second, True)
        assert other["key_file"] != account["key_file"]
        site.certs("account", "--fallback", "--deactivate", "--confirm", second)
        assert not json.loads(site.certs("account", "--fallback", "--format", "json").stdout)["uri"]
        site.certs("account", "--deactivate", "--confirm", first)
        site.certs("renew", "--force")
        site.is_settled()
        assert site.secrets_shown() == []
