"""Traefik as the one who orders certificates: the command line, a real Traefik, a real Pebble and a real BIND."""

from __future__ import annotations

import contextlib
import json
import re

import psutil
import pytest
from cryptography import x509

from tests.integration.certs_lab import Watch, handshake, laboratory, wait_until
from tests.integration.dns_lab import written
from tests.providers.dns.bind import TsigKey

pytestmark = pytest.mark.integration

USAGE, CHANGES_PENDING, PARTLY = 2, 3, 4


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Servers that all tests of this module share; nobody stops them."""
    with laboratory(tmp_path_factory.mktemp("traefik"), zones=2) as one:
        yield one


@pytest.fixture(scope="module")
def site(lab):
    """A site that is up, with a certificate that Traefik has ordered; each test leaves it well."""
    with lab.site(CERT_MANAGER="traefik", ACME_EMAIL="admin@example.org") as one:
        one.plans.append(one.run("plan", "--out", "p.json").stdout)
        one.first_up = one.run("up", "--yes")
        yield one


def storage(site):
    (file,) = (site.home.root / ".autogit" / "data" / "traefik").glob("*/acme.json")
    return file


def test_traefik_orders_the_wildcard_once_and_serves_it(site):
    served = site.serving()
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {site.zone.name, f"*.{site.zone.name}"}
    assert len(site.authority.orders()) == 1
    assert site.challenges() == []
    assert "served on 1 of 1 routes" in site.first_up.stdout
    assert "Traefik orders it from" in site.plans[0]
    assert not site.store.exists(), "AutoGit orders none"
    assert not [address for address in site.home.lockfile["resources"] if address.startswith("certificate/")]
    root = site.certs("root").stdout.strip()
    seen = site.home.probe(site.host, "/healthz", root=root)
    assert (seen.status, seen.serial_hex) == (200, f"{served.serial_number:x}")


def test_a_second_up_has_nothing_to_do(site):
    orders = len(site.authority.orders())
    site.run("plan", "--exit-code")
    assert "Nothing to do" in site.run("up").stdout
    assert len(site.authority.orders()) == orders


def test_secrets_of_dns_are_in_a_file_of_their_own_and_nowhere_else(site):
    secret, own = site.zone.server.key.secret, re.compile(r"\.autogit/secrets/traefik/RFC2136_TSIG_SECRET\.v1")
    shown = [name for name, text in written(site.home).items() if secret.encode() in text]
    assert [name for name in shown if not own.fullmatch(name)] == []
    (file,) = (site.home.root / name for name in shown)
    assert file.stat().st_mode & 0o777 == 0o600
    traefik = psutil.Process(site.home.process_pid("traefik"))
    assert secret not in "".join([*traefik.cmdline(), *traefik.environ().values(), *site.said])
    assert traefik.environ()["RFC2136_TSIG_SECRET_FILE"] == str(file)
    key = json.loads(storage(site).read_text())["letsencrypt"]["Certificates"][0]["key"]
    holders = [name for name, text in written(site.home).items() if key[:60].encode() in text]
    assert holders == [str(storage(site).relative_to(site.home.root))]


def test_status_tells_what_is_served(site):
    served = site.serving()
    told = site.status()
    assert (told["level"], told["due"], told["issuer"]) == ("ok", "", site.authority.name)
    (one,) = told["served"]
    assert (one["host"], one["serial"], one["matches"]) == (site.host, f"{served.serial_number:x}", True)
    assert "Pebble" in one["issuer"]
    assert one["days_left"] > 80
    assert "Traefik sees to it by itself" in site.certs("status").stdout


def test_commands_about_autogits_own_certificates_are_refused_and_a_renewal_has_nothing_to_do(site):
    said = site.certs("renew").stdout
    assert f"{site.zone.name}: Traefik renews it by itself" in said
    assert json.loads((site.home.root / ".autogit" / "heartbeats" / "certs-renew.json").read_text())["result"] == "ok"
    for words in (["issue"], ["revoke", site.zone.name, "--confirm", site.zone.name]):
        refused = site.certs(*words, expect=USAGE).stderr
        assert f"autogit certs {words[0]} is for certificates that AutoGit orders" in refused
        assert "CERT_MANAGER=autogit" in refused


def test_a_file_that_others_can_read_is_told_and_mended(site):
    orders = len(site.authority.orders())
    storage(site).chmod(0o644)
    plan = site.run("plan", "--exit-code", expect=CHANGES_PENDING).stdout
    assert "acme_storage/" in plan
    assert "Traefik starts without its resolver while others can read it" in plan
    assert "has mode 0644" in site.status(expect=1)["sentence"]
    assert "has mode 0644" in site.run("doctor", expect=None).stdout
    before = site.home.process_pid("traefik")
    site.run("up", "--yes")
    assert storage(site).stat().st_mode & 0o777 == 0o600
    assert site.home.process_pid("traefik") != before
    assert "Pebble" in site.serving().issuer.rfc4514_string()
    assert len(site.authority.orders()) == orders


def test_a_mended_file_is_read_whoever_has_mended_it(site):
    """Traefik has started without its resolver: healing mends both, `up` what somebody left half mended."""
    orders = len(site.authority.orders())
    storage(site).chmod(0o644)
    site.run("restart", "traefik")
    said = site.run("reconcile").stdout
    assert "mode: put back" in said
    assert "process/traefik" in said
    is_traefiks_own(site)

    storage(site).chmod(0o644)
    site.run("restart", "traefik")
    storage(site).chmod(0o600)
    assert "it serves a certificate of its own making, and has a good one" in site.run("up", "--yes").stderr
    is_traefiks_own(site)
    assert len(site.authority.orders()) == orders


def is_traefiks_own(site):
    """Assert that Traefik serves what it has ordered, at the latest in a moment: it has just been started."""
    wait_until(lambda: "Pebble" in site.serving().issuer.rfc4514_string(), "what Traefik has is served")


def test_who_orders_can_be_changed_and_a_good_certificate_is_served_at_every_instant(lab):
    """Local, then Traefik with a first order that fails, then AutoGit with the same authority."""
    with lab.site(CERT_ISSUER="local") as site:
        site.run("up", "--yes")
        local, orders = (
            handshake(site.home.https_port, site.host, site.home.root_certificate.read_text()),
            len(site.authority.orders()),
        )
        site.authority.roots.append(site.home.root_certificate.read_text())
        with Watch(site.home.https_port, site.host, "\n".join(site.authority.roots)) as watch:
            site.home.set(CERT_MANAGER="traefik", CERT_ISSUER=site.authority.shim.directory_url)
            with wrong_secret(site) as wrong:
                said = site.run("up", "--yes", "--here-only", expect=PARTLY).stderr
                assert "until then the former one is served" in said
                assert f"Traefik has no certificate for {site.zone.name}: " in said
                assert "bad authentication" in said
                assert wrong not in said
                told = site.status(expect=1)
                assert "another one than Traefik's" in told["sentence"]
                assert "bad authentication" in told["failure"]
                assert site.serving() == local

            site.run("up", "--yes")
            assert site.serving() != local
            assert len(site.authority.orders()) == orders + 2
            assert site.challenges() == []
            assert f"{site.store.name}/v" not in site.tls_file.read_text()
            assert "Nothing to do" in site.run("up", "--yes").stdout

            site.home.set(CERT_MANAGER=None)
            site.run("up", "--yes")
            site.is_settled()
            assert "certResolver" not in (site.tls_file.parent / "routes.yml").read_text()
            assert f"certificate/{site.zone.name}" in site.home.lockfile["resources"]

            # Traefik has a good one since then; until `up` it is not Traefik that orders, whatever else is done.
            site.home.set(CERT_MANAGER="traefik", INGRESS_IP="192.168.1.171")
            site.run("dns", "apply", "--yes")
            assert "all healthy" in site.run("reconcile").stdout
            assert "nothing to do" in site.certs("renew").stdout
            site.is_well()
            site.run("up", "--yes")
            assert "Nothing to do" in site.run("up", "--yes").stdout
            assert f"{site.store.name}/v" not in site.tls_file.read_text()
            assert f"certificate/{site.zone.name}" not in site.home.lockfile["resources"]
        assert wrong_while_up(watch.failures) == []
        assert len(watch.serials) > 20
        assert len(set(watch.serials)) == 3
        assert storage(site).is_file()


@contextlib.contextmanager
def wrong_secret(site):
    """Have the zone's key come with another secret, which is yielded."""
    file = site.home.root.parent / "keys" / f"{site.zone.name}.secret"
    right, wrong = file.read_text(), TsigKey().secret
    file.write_text(wrong)
    yield wrong
    file.write_text(right)


def wrong_while_up(failures):
    """The handshakes that failed by what was served, but for the moment of a start: until a Traefik that was started
    anew has read its files, it has nothing but a certificate of its own making."""
    starts = {one.partition(":")[0] for one in failures if "Connection refused" in one}
    return [one for one in failures if "VERIFY_FAILED" in one and one.partition(":")[0] not in starts]
