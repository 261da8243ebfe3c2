"""Certificates as they are told: missing, former, overdue, signed by another, and what is served instead."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from autogit.cli.certs_text import status_lines
from autogit.core.store import lockfile_store
from autogit.errors import AutogitError, CertificateError
from autogit.model.certificate_views import HookView
from autogit.model.lockfile import Lockfile
from autogit.model.renewal import RenewalState
from autogit.model.spec import CertificateSpec
from autogit.operations import certs, certs_view, doctor, wire
from autogit.operations.issuers import load_issuer
from autogit.operations.project import open_project, project_paths
from autogit.providers.ssl.served import Served
from autogit.providers.ssl.store import CertificateStore

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DOMAIN = "home.test"
DIRECTORY = "https://127.0.0.1:9/dir"
ACME = f"CERT_ISSUER={DIRECTORY}\nCERT_CHALLENGE=http-01\n"
AUTHORITY = "127.0.0.1:9"


class Site:
    """A project with a store, at a moment of one's choice; `served` is what comes over the wire for each host."""

    def __init__(self, root, monkeypatch):
        self.root, self.now, self.served = root, NOW, None
        monkeypatch.setattr(wire, "served_certificate", lambda *_: self.served)
        monkeypatch.setattr(wire, "running_ingress", lambda *_: "traefik")

    def project(self, env="", domain=DOMAIN):
        (self.root / ".env").write_text(f"BASE_DOMAIN={domain}\nSERVICES_ENABLED=api\nRUNTIME=embedded\n{env}")
        if self.served:
            lockfile_store(project_paths(self.root)).save(Lockfile(ports={"traefik/https": 8443}))
        found = open_project(project_paths(self.root))
        context = replace(found.context, clock=lambda: self.now)
        return replace(found, context=context, certificates=load_issuer(found.settings, context, found.dns))

    def issue(self, days=0, domain=DOMAIN, issuer="local"):
        """Lay a certificate of 90 days into the store, issued so many days ago by AutoGit's own authority."""
        project, store = self.project(domain=domain), CertificateStore(self.root / ".autogit" / "certs")
        self.now = NOW - timedelta(days=days)
        version = max(store.versions(domain), default=0) + 1
        names = (domain, f"*.{domain}")
        project.certificates._issue(CertificateSpec(domain, "local", names, version, "", ""))
        self.now = NOW
        if issuer != "local":
            folder = store.folder(domain, version)
            meta = json.loads((folder / "meta.json").read_text())
            (folder / "meta.json").write_text(json.dumps({**meta, "issuer": issuer}))
        leaf = store.read(domain, version).leaf
        ends = leaf.not_valid_after_utc.isoformat()
        self.served = Served(f"{leaf.serial_number:x}", ends, "CN=the authority")
        return self.served.serial

    def status(self, env="", domain=DOMAIN):
        view = asyncio.run(certs_view.status(self.project(env, domain)))
        return view, list(status_lines(view))


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", str(tmp_path / "home" / "identity.txt"))
    root = tmp_path / "project"
    root.mkdir()
    return Site(root, monkeypatch)


def test_no_certificate_at_all_is_an_error_that_names_why_the_first_order_failed(site):
    issuer = site.project(ACME).certificates
    issuer.keep(DOMAIN, RenewalState(failures=1, failed_at=NOW, failure="the name points elsewhere"))
    view, lines = site.status(ACME)
    (one,) = view.certificates
    assert not view.ok
    assert (one.version, one.issuer, one.level, one.failure) == (0, AUTHORITY, "error", "the name points elsewhere")
    assert lines[0] == f"{DOMAIN}   {AUTHORITY}, none yet"
    assert "  last try  failed: the name points elsewhere" in lines
    assert "! there is none yet: autogit up" in lines


def test_the_certificate_of_a_former_domain_is_mentioned_and_judged_no_more(site):
    site.issue(days=200, domain="old.test")
    site.issue()
    view, lines = site.status()
    assert view.ok
    assert [(one.name, one.former) for one in view.certificates] == [(DOMAIN, False), ("old.test", True)]
    assert "  former, not served" in lines
    assert certs._idle(site.project()) == [f"{DOMAIN}: nothing to do, renews from 2027-01-23 11:58 UTC"]


@pytest.mark.parametrize(
    ("days", "level", "sentence"),
    [
        (59, "ok", ""),
        (62, "ok", ""),
        (86, "warning", "due since 2026-10-29 11:58 UTC, expires at 2026-11-28 12:00 UTC"),
        (92, "error", "expired at 2026-11-22 12:00 UTC"),
    ],
)
def test_a_certificate_of_the_local_authority_can_be_overdue_and_expired(site, days, level, sentence):
    site.issue(days)
    (one,) = site.status()[0].certificates
    assert (one.level, one.sentence) == (level, sentence)
    assert one.days_left == max(90 - days, 0)


def test_that_of_an_authority_of_before_is_shown_whole_and_is_well_while_it_is_served(site):
    serial = site.issue(10, issuer="letsencrypt")
    view, lines = site.status()
    (one,) = view.certificates
    assert (one.level, one.issuer, one.serial, one.days_left) == ("ok", "letsencrypt", serial, 80)
    assert one.names == (DOMAIN, f"*.{DOMAIN}")
    assert one.due == "issuer letsencrypt -> local"
    assert any(line.endswith("served = on disk") for line in lines)
    assert certs._idle(site.project()) == [], "it is due: it is not said to have time"


def test_what_is_served_is_told_with_who_signed_it_and_how_long_it_lives(site):
    site.issue(10)
    (host,) = site.status()[0].certificates[0].served
    assert (host.matches, host.issuer, host.days_left) == (True, "CN=the authority", 80)


def test_another_one_that_is_served_is_not_the_same_as_no_answer_or_nothing_applied(site):
    site.issue()
    mine, site.served = site.served, replace(site.served, serial="beef")
    assert site.status()[0].certificates[0].sentence == "what is served is not what is on disk"
    site.served = Served(error="Connection refused")
    view, _ = site.status()
    assert (view.ok, view.certificates[0].sentence) == (False, "the ingress does not answer: Connection refused")
    (site.root / "autogit.lock.json").unlink()
    site.served = None
    assert site.status()[0].certificates[0].sentence == "it is not served yet: autogit up"
    site.served = mine
    assert site.status()[0].ok


def test_the_last_try_says_when_the_next_is(site):
    site.issue(80, issuer=AUTHORITY)
    state = RenewalState(failures=2, failed_at=NOW, failure="busy", next_try_at=NOW + timedelta(minutes=5))
    site.project(ACME).certificates.keep(DOMAIN, state)
    view, lines = site.status(ACME)
    assert view.certificates[0].next_try_at == "2026-11-24T12:05:00+00:00"
    assert "  last try  failed: busy; not tried again before 2026-11-24 12:05 UTC" in lines
    site.now += timedelta(minutes=6)
    assert site.status(ACME)[0].certificates[0].next_try_at == ""


def test_who_renews_is_told_and_missed_where_nobody_does(site):
    site.issue()
    assert site.status()[1][-1] == "last run of certs renew: never: autogit schedule install"
    beat = site.root / ".autogit" / "heartbeats" / "certs-renew.json"
    beat.parent.mkdir(parents=True)
    beat.write_text(json.dumps({"at": "2026-11-24T06:17:00Z", "result": "ok"}))
    view, lines = site.status()
    assert (view.renewed_at, view.renewed) == ("2026-11-24T06:17:00Z", "ok")
    assert lines[-1] == "last run of certs renew: 2026-11-24 06:17 UTC"
    beat.write_text(json.dumps({"at": "2026-11-24T06:17:00Z", "result": "failed"}))
    assert site.status()[1][-1] == "last run of certs renew: 2026-11-24 06:17 UTC, failed"
    beat.write_text("{")
    assert "never" in site.status()[1][-1]


def test_hooks_are_told_by_their_command():
    view = certs_view.CertificateStatusView(
        name=DOMAIN, issuer="local", version=6, names=(DOMAIN,), serial="1f", not_after="2027-01-01T00:00:00Z",
        days_left=30, renew_at="2026-12-01T00:00:00Z",
        hooks=(
            HookView(name="a-1", command=("/bin/a", "x y"), version=6, delivered_at="2026-11-24T12:00:00Z"),
            HookView(name="b-2", command=("/bin/b",), version=0),
        ),
    )  # fmt: skip
    lines = list(status_lines(certs_view.CertsView(certificates=(view,))))
    assert "  /bin/a 'x y'  delivered v6 at 2026-11-24 12:00 UTC" in lines
    assert "  /bin/b        delivered nothing yet" in lines


def _renew(project, **options):
    return asyncio.run(certs.renew(project, **options))


def test_a_renewal_with_nothing_in_force_fails_and_says_why_and_leaves_that_behind(site):
    (site.root / ".autogit").mkdir()
    project = site.project(ACME)
    project.certificates.keep(DOMAIN, RenewalState(failures=1, failed_at=NOW, failure="the name points elsewhere"))
    with pytest.raises(CertificateError, match="none to renew yet; the last try failed: the name points") as failed:
        _renew(project)
    assert "autogit up" in failed.value.hint
    beat = site.root / ".autogit" / "heartbeats" / "certs-renew.json"
    assert json.loads(beat.read_text())["result"] == "failed"


def test_an_order_by_hand_is_no_sign_of_life_of_the_schedule(site):
    (site.root / ".autogit").mkdir()
    with pytest.raises(AutogitError):
        _renew(site.project(ACME), moving_on=True)
    assert not (site.root / ".autogit" / "heartbeats" / "certs-renew.json").exists()


def _found(project, check):
    return [(one.level, one.message) for one in asyncio.run(doctor._certificates(project)) if one.check == check]


def test_doctor_misses_a_renewal_that_is_silent_or_fails(site):
    site.issue()
    beat = site.root / ".autogit" / "heartbeats" / "certs-renew.json"
    beat.parent.mkdir(parents=True)
    beat.write_text(json.dumps({"at": "2026-11-24T12:00:00Z", "result": "ok"}))
    began = datetime.fromtimestamp(beat.stat().st_mtime, UTC)
    site.now = began + timedelta(hours=6)
    assert _found(site.project(), "renewal") == [("ok", "autogit certs renew is at work")]
    site.now = began + timedelta(hours=8)
    assert _found(site.project(), "renewal") == [("warning", "autogit certs renew ran last 480 minutes ago")]
    beat.write_text(json.dumps({"at": "2026-11-24T12:00:00Z", "result": "failed"}))
    site.now = began + timedelta(hours=1)
    ((level, message),) = _found(site.project(), "renewal")
    assert (level, message[:33]) == ("warning", "autogit certs renew failed when i")


def test_doctor_tells_of_a_hook_that_failed(site):
    site.issue()
    record = {"a-1": {"version": 1, "failure": "hooks: /bin/a failed with exit code 7", "failed_version": 2}}
    (site.root / ".autogit" / "certs" / "hooks.json").write_text(json.dumps(record))
    hooks = "CERT_DEPLOY_HOOKS='[[\"/bin/a\"]]'\n"
    ((level, message),) = _found(site.project(hooks), "certificate hooks")
    assert (level, message) == ("error", "a-1: hooks: /bin/a failed with exit code 7")
    assert _found(site.project(), "certificate hooks") == [], "nobody asks for it any more"
