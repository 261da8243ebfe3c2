"""Certificates as a user sees them: the command line, a real Pebble, a real BIND and a real Traefik on loopback ports.

A short seeded sample of kills runs in `make test`; `make soak` runs the long form and prints its figures.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import shutil
import stat
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from autogit.errors import AutogitError
from autogit.operations import certs_view
from tests.integration.certs_lab import (
    BLOCKED,
    Watch,
    kill_at_work,
    kill_before_it_is_recorded,
    laboratory,
    mounted,
    project_at,
    renewed_at,
    survives_kills,
    wait_until,
)
from tests.integration.conftest import free_ports
from tests.integration.dns_lab import BindZone, has_platform, written
from tests.providers.dns.bind import TsigKey
from tests.providers.ssl.directory_shim import CHALLENGE, NEW_ORDER, RENEWAL_INFO, problem

pytestmark = pytest.mark.integration

CHANGES_PENDING, USAGE, PARTLY, LOCKED = 3, 2, 4, 5
LOGIN = "https://me:hunter2@ca.test/dir"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Servers that all tests of this module share; nobody stops them."""
    with laboratory(tmp_path_factory.mktemp("lab")) as one:
        yield one


@pytest.fixture(scope="module")
def shared(lab):
    """A site that is up; each test leaves it well."""
    with lab.site() as site:
        site.plans.append(site.run("plan", "--out", "p.json").stdout)
        site.first_up = site.run("up", "--yes")
        yield site


@pytest.fixture
def site(shared):
    """The shared site, put right where a test before it failed."""
    with shared.put_right_afterwards():
        yield shared


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A site that is up, with servers of its own that may be stopped."""
    with laboratory(tmp_path_factory.mktemp("fragile"), zones=1) as lab, lab.site() as site:
        site.run("up", "--yes")
        yield site


@pytest.fixture
def struck(fragile):
    """The site with servers of its own; what a test did to them is over afterwards."""
    with fragile.put_right_afterwards():
        try:
            yield fragile
        finally:
            fragile.zone.server.start()
            fragile.authority.start()


# 1. Issuing


def test_up_issues_wildcard_and_apex_and_serves_them(site):
    served = site.serving()
    assert site.serving(f"anything.{site.zone.name}") == served
    assert site.serving(site.zone.name) == served
    assert site.challenges() == []
    assert "served on 1 of 1 routes" in site.first_up.stdout


def test_a_plan_shows_who_issues_and_for_which_names(site):
    row = next(line for line in site.plans[0].splitlines() if "certificate/" in line)
    assert f"certificate/{site.zone.name} " in row
    assert f"{site.authority.name} authority" in row
    assert f"*.{site.zone.name}" in row


def test_a_second_up_has_nothing_to_do_and_asks_the_authority_nothing(site):
    orders = len(site.authority.orders())
    site.run("plan", "--exit-code")
    assert "Nothing to do" in site.run("up").stdout
    assert len(site.authority.orders()) == orders


def test_private_keys_are_their_owners_only_and_stand_nowhere_else(site):
    keys = sorted(site.certs_folder.rglob("key.pem"))
    assert len(keys) >= 2, "one of the account, one of a certificate"
    for file in keys:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        for folder in file.parents[: len(file.relative_to(site.certs_folder).parts)]:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    names = written(site.home)
    assert {"autogit.lock.json", "p.json"} <= names.keys()
    assert any("audit" in name for name in names)
    assert site.secrets_shown() == []


# 2. How they are


def test_status_tells_disk_and_served_as_text_and_as_json(site):
    text = site.certs("status").stdout
    serial = f"{site.stored().serial_number:x}"
    assert text.startswith(f"{site.zone.name}, *.{site.zone.name}   {site.authority.name}, ")
    assert f"{site.host}  {serial}  served = on disk" in text
    told = site.status()
    assert told["issuer"] == site.authority.name
    assert told["names"] == [site.zone.name, f"*.{site.zone.name}"]
    assert (told["serial"], told["level"], told["due"]) == (serial, "ok", "")
    assert [(one["host"], one["serial"], one["matches"]) for one in told["served"]] == [(site.host, serial, True)]
    assert told["renew_at"] < told["not_after"]


def test_a_copied_version_is_put_in_force_by_the_next_renewal(site):
    version = site.versions()[-1]
    shutil.copytree(site.folder(version), site.folder(version + 1))
    orders = len(site.authority.orders())
    assert site.status()["version"] == version + 1, "the same certificate is served: nothing is wrong"
    site.certs("renew")
    assert f"v{version + 1}/" in site.tls_file.read_text()
    assert len(site.authority.orders()) == orders
    site.is_settled()
    assert "Nothing to do" in site.run("up").stdout


def test_what_was_stored_and_not_put_in_force_is_an_error_until_the_next_renewal(site):
    with site.as_before():
        site.certs("renew", "--force")
    former = site.stored(site.versions()[-2])
    wait_until(lambda: site.serving() == former, "Traefik has read the former file again")
    orders = len(site.authority.orders())
    told = site.status(expect=1)
    assert (told["level"], told["sentence"]) == ("error", "what is served is not what is on disk")
    text = site.certs("status", expect=1).stdout
    assert f"{former.serial_number:x}  ANOTHER one is served" in text
    done = json.loads(site.certs("renew", "--format", "json").stdout)
    assert "file/traefik/dynamic/tls.yml" in [one["address"] for one in done["applied"]]
    assert len(site.authority.orders()) == orders, "what is stored is as good as a new one"
    site.is_well()


def test_an_expired_certificate_is_an_error_and_is_renewed(site):
    serial = site.put(days_ago=100, days_left=-10)
    told = site.status(expect=1)
    assert (told["level"], told["serial"], told["days_left"]) == ("error", serial, 0)
    assert told["sentence"].startswith("expired at ")
    version = site.versions()[-1]
    done = json.loads(site.certs("renew", "--format", "json").stdout)
    assert [(one["address"], one["action"], one["ok"]) for one in done["applied"]] == [
        (f"certificate/{site.zone.name}", "update", True),
        ("file/traefik/dynamic/tls.yml", "update", True),
    ]
    assert site.versions()[-1] == version + 1
    site.is_well()


# 3. Renewing


def test_a_renewal_that_is_not_due_does_nothing_twice(site):
    version, orders = site.versions()[-1], len(site.authority.orders())
    for _ in range(2):
        said = site.certs("renew").stdout
        assert f"{site.zone.name}: nothing to do, renews from 20" in said
    assert (site.versions()[-1], len(site.authority.orders())) == (version, orders)
    assert json.loads((site.home.root / ".autogit" / "heartbeats" / "certs-renew.json").read_text())["result"] == "ok"


def test_forced_renewals_are_served_at_once_with_new_keys_and_three_versions_are_kept(site):
    seen = [site.serving()]
    first = site.versions()[-1]
    for turn in range(1, 5):
        site.certs("renew", "--force")
        seen.append(site.serving())
        assert site.versions()[-1] == first + turn
    assert len({one.serial_number for one in seen}) == 5
    assert len({one.public_key().public_numbers() for one in seen}) == 5
    assert site.versions() == [first + 2, first + 3, first + 4]
    assert os.readlink(site.store / "live") == f"v{first + 4}"
    assert "replaces" in site.authority.orders()[-1]
    site.is_settled()


def test_a_window_of_the_past_has_a_certificate_renewed_at_once_and_once(site):
    site.forget_asking()
    now = datetime.now(UTC)
    moments = [(now - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ") for hours in (48, 24)]
    site.authority.shim.window(*moments)
    version = site.versions()[-1]
    site.certs("renew")
    site.authority.shim.windows.clear()
    assert site.versions()[-1] == version + 1
    site.is_settled()
    assert "nothing to do" in site.certs("renew").stdout


def test_an_authority_that_tells_no_window_is_said_and_the_age_decides(site):
    site.forget_asking()
    site.authority.shim.when(RENEWAL_INFO, problem(503, "serverInternal", "out for lunch"), times=2, method="GET")
    said = site.certs("renew").stdout
    assert f"{site.authority.name}: " in said
    assert "out for lunch" in said
    assert "it is renewed by its age" in said
    assert "nothing to do" in said

    site.put(days_ago=80, days_left=10)
    site.forget_asking()
    version = site.versions()[-1]
    assert "it is renewed by its age" in site.certs("renew").stdout
    assert site.versions()[-1] == version + 1
    site.is_settled()


# 4. Moving on


def test_a_changed_wish_waits_for_up_and_certs_issue_does_it(site):
    site.home.set(CERT_KEY_TYPE="P-384")
    version = site.versions()[-1]
    said = site.certs("renew").stdout
    assert f"certificate/{site.zone.name} waits for autogit up" in said
    assert site.versions()[-1] == version
    site.certs("issue")
    assert site.versions()[-1] == version + 1
    served = site.serving().public_key()
    assert isinstance(served, ec.EllipticCurvePublicKey)
    assert served.key_size == 384
    site.is_well()
    assert "Nothing to do" in site.run("up").stdout
    site.home.set(CERT_KEY_TYPE=None)
    site.run("up", "--yes")
    assert site.serving().public_key().key_size == 256
    site.is_settled()


def test_what_is_due_is_renewed_as_it_was_while_other_wishes_wait(site):
    """A key of another type, another port, another service: none of it is in force, and none may hinder a renewal."""
    version, port = site.versions()[-1], site.home.https_port
    changed = {"CERT_KEY_TYPE": "P-384", "HTTPS_PORT": free_ports(1)[0], "SERVICES_ENABLED": "api,prometheus"}
    former = site.home.lockfile["settings"]["SERVICES_ENABLED"]
    site.home.set(**changed)
    site.make_due()
    said = site.certs("renew").stdout
    assert f"certificate/{site.zone.name} waits for autogit up" in said
    assert "it is due, and renewed as it was" in said
    assert site.versions()[-1] == version + 1
    assert site.serving().public_key().key_size == 256
    assert site.home.https_port == port
    site.is_settled()
    assert site.status()["level"] == "ok"
    assert "nothing to do" in site.certs("renew").stdout
    site.home.set(CERT_KEY_TYPE=None, HTTPS_PORT=port, SERVICES_ENABLED=former)
    assert "Nothing to do" in site.run("up").stdout


def test_a_valid_certificate_is_served_at_every_instant_of_a_move_between_issuers(lab):
    with lab.site(CERT_ISSUER="local") as site:
        site.run("up", "--yes")
        roots = "\n".join([*site.authority.roots, site.home.root_certificate.read_text()])
        with Watch(site.home.https_port, site.host, roots) as watch:
            for issuer in (site.authority.shim.directory_url, "local"):
                site.home.set(CERT_ISSUER=issuer)
                site.plans.append(site.run("plan", "--exit-code", expect=CHANGES_PENDING).stdout)
                site.run("up", "--yes")
        assert watch.failures == []
        assert len(watch.serials) > 20
        assert len(set(watch.serials)) == 3
        assert site.challenges() == []
        there, back = site.plans
        assert f"issuer local -> {site.authority.name}" in there
        assert f"issuer {site.authority.name} -> local" in back
        assert "damaged" not in back, "nothing is wrong with what the other authority signed"


# 5. Faults: the former certificate is served all the time, and the next run puts it right


def fails(site, *sentences, words=("certs", "renew", "--force"), expect=PARTLY):
    """A renewal that cannot be: it says why, and what was served is still served."""
    former, version = site.serving(), site.versions()[-1]
    said = site.run(*words, expect=expect).stderr
    for sentence in sentences:
        assert sentence in said
    assert site.serving() == former
    assert site.versions()[-1] == version
    return said


def recovers(site):
    """The next renewal is made at once, takes what was left over away, and is served."""
    version = site.versions()[-1]
    site.certs("renew", "--force")
    assert site.versions()[-1] == version + 1
    site.is_settled()


def test_a_failed_renewal_is_told_paused_and_tried_at_once_where_that_is_asked_for(struck):
    struck.make_due()
    struck.authority.stop()
    fails(struck, struck.authority.name, "what is being served goes on being served", words=("certs", "renew"))
    beat = json.loads((struck.home.root / ".autogit" / "heartbeats" / "certs-renew.json").read_text())
    assert beat["result"] == "failed"
    assert struck.authority.name in struck.status()["failure"]
    struck.authority.start()
    fails(struck, "the next is at 20", words=("certs", "renew"), expect=None)
    recovers(struck)
    assert struck.status()["failure"] == ""


def test_an_authority_that_forgot_the_account_gets_a_new_one(struck):
    asked = struck.authority.accounts()
    struck.authority.restart()
    recovers(struck)
    assert struck.authority.accounts() == asked + 1


@pytest.fixture
def here(struck, monkeypatch):
    """The same site, whose `certs renew` runs in this process, too."""
    monkeypatch.setenv("PATH", struck.home.environ["PATH"])
    return struck


def fails_at(site, clock, sentence, **told):
    """A renewal by another clock that cannot be: it says why, and what was served is still served."""
    former, version = site.serving(), site.versions()[-1]
    with pytest.raises(AutogitError) as caught:
        renewed_at(site.home, clock, **told)
    said = "; ".join([caught.value.message, *(str(fault) for fault in caught.value.faults)])
    assert sentence in said
    assert site.serving() == former
    assert site.versions()[-1] == version
    assert site.challenges() == []
    return caught.value.hint


def test_a_clock_that_is_two_hours_slow_stops_a_renewal_only(here):
    def slow():
        return datetime.now(UTC) - timedelta(hours=2)

    fails_at(here, slow, "it is valid from", force=True)
    (told,) = asyncio.run(certs_view.status(project_at(here.home, slow))).certificates
    assert told.level == "warning"
    assert "is this host's clock right?" in told.sentence
    assert "nothing to do" in here.certs("renew").stdout, "nothing was due"
    recovers(here)


def test_what_a_clock_that_was_two_hours_fast_has_left_keeps_no_renewal_waiting(here):
    def fast():
        return datetime.now(UTC) + timedelta(hours=2)

    renewed_at(here.home, fast, force=True)
    here.is_well()
    here.make_due()
    here.authority.shim.when(NEW_ORDER, problem(403, "rejectedIdentifier", "not today"))
    fails_at(here, fast, "not today")
    version = here.versions()[-1]
    here.certs("renew")
    assert here.versions()[-1] == version + 1, "no pause of the future holds"
    here.is_well()


def night_of_change():
    """The next moment at which clocks in Spain are about to be changed."""
    day = datetime.now(UTC) + timedelta(days=1)
    while not (day.month in (3, 10) and day.weekday() == 6 and (day + timedelta(days=7)).month != day.month):
        day += timedelta(days=1)
    return day.replace(hour=0, minute=59, second=30, microsecond=0)


def test_a_limit_that_is_told_as_a_date_holds_to_the_second_in_a_night_when_the_clocks_change(here, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Madrid")
    time.tzset()
    try:
        night = night_of_change()
        until = format_datetime(night + timedelta(seconds=100), usegmt=True)
        here.authority.shim.when(NEW_ORDER, problem(429, "rateLimited", "too many", Retry_After=until))
        fails_at(here, lambda: night, "too many", force=True)
        orders = len(here.authority.orders())
        minute = f"the next is at {night:%Y-%m-%d} 01:02 UTC"
        hint = fails_at(here, lambda: night + timedelta(seconds=99), minute, force=True)
        assert "--force does not shorten it" in hint
        assert len(here.authority.orders()) == orders, "the authority said when"
        renewed_at(here.home, lambda: night + timedelta(seconds=101), force=True)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len(here.authority.orders()) == orders + 1
    here.is_well()


def test_an_authority_that_refuses_every_second_nonce_is_asked_again_and_old_proofs_count(struck):
    def writes():
        before = struck.zone.server.serial(struck.zone.name)
        recovers(struck)
        return struck.zone.server.serial(struck.zone.name) - before

    struck.authority.restart(environ={"PEBBLE_WFE_NONCEREJECT": "50", "PEBBLE_AUTHZREUSE": "100"})
    try:
        assert writes() > 0
        assert writes() == 0, "what is proven is not proven again"
    finally:
        struck.authority.restart(environ={"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"})
    assert writes() > 0


@pytest.mark.soak
def test_a_name_server_that_stops_in_the_middle_of_an_order_keeps_a_proof_until_the_next_run(struck):
    def stopped(_request, forward):
        struck.zone.server.stop()
        return forward()

    struck.authority.shim.when(CHALLENGE, stopped)
    fails(struck, "could not validate")
    struck.zone.server.start()
    assert len(struck.challenges()) == 2, "nobody could take them away"
    assert "nothing to do" in struck.certs("renew").stdout
    assert struck.challenges() == []
    recovers(struck)


def test_a_dead_name_server_stops_a_renewal_only_and_who_comes_meanwhile_is_told_who_is_at_work(struck):
    former, version = struck.serving(), struck.versions()[-1]
    with Watch(struck.home.https_port, struck.host, "\n".join(struck.authority.roots)) as watch:
        struck.zone.server.stop()
        renewal = struck.home.start("certs", "renew", "--force")  # asks the dead server again for a while
        said = "".join(
            iter(renewal.stderr.readline, f"certificate/{struck.zone.name}  asking {struck.authority.name}\n")
        )
        second = struck.certs("issue", expect=LOCKED).stderr
        assert f"certs renew (pid {renewal.pid} " in second
        assert "--lock-wait SECONDS" in second
        assert struck.status()["level"] == "ok"
        said += renewal.communicate(timeout=60)[1]
        assert renewal.returncode == PARTLY
        assert f"rfc2136: {struck.zone.server.server} does not answer" in said
        assert (struck.serving(), struck.versions()[-1]) == (former, version)
        struck.zone.server.start()
        recovers(struck)
    assert watch.failures == []


def test_a_wrong_secret_of_the_zone_stops_a_renewal_only(struck):
    file = struck.home.root.parent / "keys" / f"{struck.zone.name}.secret"
    right, wrong = file.read_text(), TsigKey().secret
    file.write_text(wrong)
    try:
        said = fails(struck, "rfc2136: ", f"another secret for the key {struck.zone.server.key.name}")
    finally:
        file.write_text(right)
    assert wrong not in said
    recovers(struck)
    assert struck.secrets_shown(wrong) == []


def test_a_domain_that_the_authority_refuses_is_said_in_its_words(struck):
    struck.authority.restart(domainBlocklist=[struck.zone.name])
    try:
        said = fails(struck, struck.authority.name, struck.zone.name, "public ones issue for public domains only")
        assert "hint: mend the name, or take another issuer" in said
    finally:
        struck.authority.restart(domainBlocklist=[BLOCKED])
    recovers(struck)


def test_a_first_certificate_that_is_refused_can_be_had_once_the_cause_is_gone(lab):
    with lab.site(BindZone(lab.bind, BLOCKED)) as site:
        said = site.run("up", "--yes", expect=PARTLY).stderr
        assert "public ones issue for public domains only" in said
        assert site.challenges() == []
        told = site.status(expect=1)
        assert (told["version"], told["sentence"]) == (0, "there is none yet: autogit up")
        assert "issuance is forbidden by policy" in told["failure"]
        renewed = site.certs("renew", expect=1).stderr
        assert "there is none to renew yet; the last try failed: " in renewed
        beat = json.loads((site.home.root / ".autogit" / "heartbeats" / "certs-renew.json").read_text())
        assert beat["result"] == "failed"
        site.home.set(CERT_ISSUER="local")
        site.run("up", "--yes")
        assert site.home.probe(site.host, "/healthz").status == 200


def test_a_move_to_an_authority_that_fails_can_be_tried_again_at_once(struck):
    """What was tried at another issuer says nothing about when the former certificate is due."""
    struck.home.set(CERT_ISSUER="local")
    struck.run("up", "--yes")
    struck.authority.roots.append(struck.home.root_certificate.read_text())
    struck.home.set(CERT_ISSUER=struck.authority.shim.directory_url)
    struck.authority.stop()
    fails(struck, struck.authority.name, words=("up", "--yes"))
    struck.authority.start()
    struck.run("up", "--yes")
    struck.is_settled()
    assert struck.status()["issuer"] == struck.authority.name


def test_a_challenge_of_another_client_stays(site):
    other = '"' + "A" * 43 + '"'
    site.zone.write("_acme-challenge", "TXT", other)
    site.certs("renew", "--force")
    assert site.challenges() == [other]
    site.zone.write("_acme-challenge", "TXT")
    site.is_settled()


def test_two_renewals_at_once_end_well(site):
    version = site.versions()[-1]
    both = [site.home.start("certs", "renew", "--force") for _ in range(2)]
    said = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert site.versions()[-1] == version + 2
    site.is_settled()


@pytest.mark.parametrize("kilobytes", [0, 64], ids=["read only", "full"])
def test_a_store_that_takes_nothing_stops_a_renewal_only(site, kilobytes):
    with mounted(site.store, kilobytes) as may:
        if not may:
            pytest.skip("nothing can be mounted here")
        fails(site, "cannot write ", str(site.store), expect=None)
    assert site.challenges() == []
    recovers(site)


def test_where_nothing_can_be_remembered_nothing_is_asked_for_and_nothing_published(site):
    orders, serial = len(site.authority.orders()), site.zone.server.serial(site.zone.name)
    with mounted(site.certs_folder, 0) as may:
        if not may:
            pytest.skip("nothing can be mounted here")
        fails(site, "cannot write ", str(site.certs_folder), expect=None)
    assert (len(site.authority.orders()), site.zone.server.serial(site.zone.name)) == (orders, serial)
    recovers(site)


def test_a_renewal_that_was_killed_twice_does_not_take_its_own_file_for_somebody_elses(site):
    kill_before_it_is_recorded(site)
    site.certs("renew")
    kill_at_work(site, "asking", 0)
    version = site.versions()[-1]
    site.certs("renew", "--force")
    assert site.versions()[-1] > version
    site.is_settled()


def test_what_somebody_wrote_into_the_file_of_certificates_stops_a_renewal_before_the_order(site):
    wished, orders = site.tls_file.read_text(), len(site.authority.orders())
    try:
        written_at_once(site.tls_file, wished + "# by hand\n")
        said = fails(site, "file/traefik/dynamic/tls.yml", expect=None)
        assert "drift --revert" in said
        assert len(site.authority.orders()) == orders, "nobody can put in force what would come"
    finally:
        written_at_once(site.tls_file, wished)


def written_at_once(path, text):
    """Traefik looks at every moment, and serves a certificate of its own while a file is half there."""
    fresh = path.parent.parent / f".{path.name}.by-hand"
    fresh.write_text(text)
    fresh.replace(path)


def test_renewals_survive_sigkill_at_a_few_random_instants(site):
    found = survives_kills(site, kills=4, dice=random.Random(6))
    assert found["challenges left"] + found["not served"] + found["half written"], f"none was hit at work: {found}"
    assert site.secrets_shown() == []


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_renewals_survive_sigkill_at_forty_random_instants(site, capsys):
    found = survives_kills(site, kills=40, dice=random.Random(20261127))
    with capsys.disabled():
        print(f"\nSIGKILL of certs renew --force at 40 random instants: 40 of 40 converged {found}")
    assert found["challenges left"]
    assert found["not served"]


# 6. Settings that cannot be


@pytest.fixture(scope="module")
def untouched(lab):
    """A project of which nothing may ever be begun."""
    with lab.site() as site:
        yield site


@pytest.mark.parametrize("issuer", ["zerossl", "http://127.0.0.1/dir", "https://", LOGIN])
def test_an_issuer_that_cannot_be_is_a_fault_of_its_line(untouched, issuer):
    untouched.home.set(CERT_ISSUER=issuer)
    before = written(untouched.home)
    said = untouched.run("up", "--yes", expect=USAGE).stderr
    assert "CERT_ISSUER" in said
    assert "must be local, letsencrypt, letsencrypt-staging, or the https URL of an ACME directory" in said
    assert ".env line " in said
    assert "hunter2" not in said
    assert written(untouched.home) == before
    assert not has_platform(untouched.home)


def test_an_authority_without_a_dns_provider_is_a_fault_that_names_both_ways_out(lab):
    with lab.site(DNS_PROVIDER="none") as site:
        before = written(site.home)
        for words in (("up", "--yes"), ("certs", "renew")):
            said = site.run(*words, expect=USAGE).stderr
            assert "needs a DNS provider" in said
            assert "set DNS_PROVIDER" in said
            assert "CERT_ISSUER=local" in said
        assert written(site.home) == before


def test_a_directory_that_cannot_be_used_stops_a_renewal_with_a_sentence(site):
    issue, renew = ("certs", "issue"), ("certs", "renew", "--force")
    nobody = f"https://127.0.0.1:{free_ports(1)[0]}/dir"
    for wrong, sentence, words in (
        ({"CERT_ISSUER": nobody}, "cannot be reached", issue),
        ({"CERT_ISSUER": site.authority.shim.directory_url + "/nothing"}, "its directory: HTTP 404", renew),
        ({"ACME_CA_FILE": None}, "ACME_CA_FILE", renew),
        ({"ACME_CA_FILE": "no/such/file.pem"}, "no/such/file.pem", renew),
    ):
        site.home.set(**wrong)
        assert "hint: " in fails(site, sentence, words=words, expect=None)
        site.home.set(**site.authority.settings())
    recovers(site)


@pytest.fixture(scope="module")
def bound(tmp_path_factory):
    """An authority that wants accounts bound to one of its own."""
    hmac = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    with laboratory(tmp_path_factory.mktemp("bound"), zones=2, eab={"kid-1": hmac}) as lab:
        lab.hmac = hmac
        yield lab


def test_a_binding_that_is_missing_or_wrong_is_said_and_never_shown(bound):
    wrong = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    with bound.site() as site:
        for key_id, hmac, sentence in (
            (None, None, "EAB"),
            ("kid-1", None, "ACME_EAB_HMAC_KEY"),
            ("kid-9", bound.hmac, "must be a pair of this authority"),
            ("kid-1", wrong, "EAB"),
        ):
            site.home.set(ACME_EAB_KEY_ID=key_id, ACME_EAB_HMAC_KEY=hmac)
            done = site.run("up", "--yes", expect=None)
            assert done.returncode in (USAGE, PARTLY), (key_id, done.stderr)
            assert sentence in done.stderr, (key_id, done.stderr)
            assert "hint: " in done.stderr
            assert not site.store.is_dir() or site.versions() == []
        site.home.set(ACME_EAB_KEY_ID="kid-1", ACME_EAB_HMAC_KEY=bound.hmac)
        site.run("up", "--yes")
        site.is_settled()
        assert site.secrets_shown(bound.hmac, wrong) == []


# 7. Revoking


def test_a_revoked_certificate_is_an_error_and_is_replaced_by_the_next_renewal(site):
    name, serial = site.zone.name, f"{site.stored().serial_number:x}"
    refused = site.certs("revoke", name, expect=USAGE).stderr
    assert f"the certificate of {name} was not revoked: that was not confirmed with its name" in refused
    assert f"autogit certs revoke {name} --confirm {name}" in refused
    said = site.certs("revoke", name, "--reason", "4", "--confirm", name).stdout
    assert f"{site.authority.name} has revoked {serial} of {name}" in said
    assert "it is still served; autogit certs renew puts another one in its place" in said
    assert site.authority.pebble.status_of(serial)["Status"] == "Revoked"
    status = site.status(expect=1)
    assert (status["level"], status["due"], status["serial"]) == ("error", "it was revoked", serial)
    assert status["sentence"] == "it was revoked: autogit certs renew"
    assert "it was revoked" in site.run("plan", expect=None).stdout
    assert "there is no certificate of nobody.test" in site.certs("revoke", "nobody.test", expect=USAGE).stderr
    orders = len(site.authority.orders())
    site.certs("renew")
    assert site.serving().serial_number != int(serial, 16)
    assert [bool(one.get("replaces")) for one in site.authority.orders()[orders:]] == [True]
    site.is_well()


def test_without_its_account_a_certificate_is_revoked_with_its_own_key(site):
    serial, account = f"{site.stored().serial_number:x}", site.authority.name
    site.certs("account", "--deactivate", "--confirm", account)
    site.certs("revoke", site.zone.name, "--confirm", site.zone.name)
    assert site.authority.pebble.status_of(serial)["Status"] == "Revoked"
    site.certs("renew")
    site.is_well()


def test_trust_is_refused_where_another_authority_signs_though_a_local_root_is_left(site):
    root = site.certs_folder / "local-ca" / site.zone.name / "root.pem"
    root.parent.mkdir(parents=True)
    root.write_text("a root of before")
    try:
        said = site.certs("trust", expect=USAGE).stderr
    finally:
        shutil.rmtree(root.parent.parent)
    assert f"{site.authority.name} signs the certificate of {site.zone.name}" in said


def test_no_certificate_is_ordered_before_there_is_a_platform_to_serve_it(untouched):
    untouched.home.set(**untouched.authority.settings())
    orders = len(untouched.authority.orders())
    said = untouched.certs("issue", expect=USAGE).stderr
    assert "no certificate was ordered: traefik does not run" in said
    assert "autogit up brings the platform up first" in said
    assert len(untouched.authority.orders()) == orders
    assert not has_platform(untouched.home)
