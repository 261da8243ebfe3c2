"""Traefik as the one who orders certificates: its configuration, what lego reads, and what cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autogit.core.desired import desired_resources
from autogit.core.render import render
from autogit.core.traefik_resolver import covers, order_anew, storage_address, with_storage_read
from autogit.core.yaml_source import read_yaml
from autogit.errors import UnsupportedError
from autogit.model.host import CertificateFacts
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Action, Change, Plan, Policy
from autogit.model.resource import Address, Resource

BASE = "SERVICES_ENABLED=api\nBASE_DOMAIN=example.org\nCERT_MANAGER=traefik\nCERT_ISSUER=letsencrypt\n"
CLOUDFLARE = "DNS_PROVIDER=cloudflare\nCLOUDFLARE_API_TOKEN=canary-token-4711\nINGRESS_IP=93.184.215.14\n"
RFC2136 = (
    "DNS_PROVIDER=rfc2136\nRFC2136_SERVER=192.168.1.2\nRFC2136_KEY_NAME=autogit\nRFC2136_KEY_SECRET=Y2FuYXJ5LTQ3MTE=\n"
    "INGRESS_IP=93.184.215.14\n"
)
ROUTE53 = (
    "DNS_PROVIDER=route53\nROUTE53_ACCESS_KEY_ID=canary-id-4711\nROUTE53_SECRET_ACCESS_KEY=canary-key-4711\n"
    "ROUTE53_ZONE_ID=Z1\nINGRESS_IP=93.184.215.14\n"
)
HELD = CertificateFacts(0, due="", names=("*.example.org", "example.org"), serial="ab")


def acme(spec):
    text = render(spec).files["traefik/traefik.yml"].text
    return read_yaml(text).data["certificatesResolvers"]["letsencrypt"]["acme"]


def dynamic(spec, name):
    return read_yaml(render(spec).files[f"traefik/dynamic/{name}.yml"].text).data


def knowing(workbench, facts):
    workbench.facts = replace(workbench.facts, certificates={"example.org": facts})
    return workbench


def environment(spec):
    return next(s.program.environment for s in spec.services if s.name == "traefik")


def test_the_resolver_says_what_the_settings_say_and_routes_ask_for_the_wildcard(workbench):
    spec = workbench.spec(
        BASE + CLOUDFLARE + "ACME_EMAIL=me@example.org\nCERT_KEY_TYPE=RSA-2048\nCERT_PREFERRED_CHAIN=ISRG Root X1\n"
        "ACME_PROFILE=shortlived\nACME_CA_FILE=ca.pem\nDNS_RESOLVERS=1.1.1.1,https://dns.google/dns-query,2606:4700::1111\n"
    )
    assert acme(spec) == {
        "email": "me@example.org",
        "storage": str(workbench.paths.data / "traefik" / "letsencrypt" / "acme.json"),
        "caServer": "https://acme-v02.api.letsencrypt.org/directory",
        "keyType": "RSA2048",
        "preferredChain": "ISRG Root X1",
        "profile": "shortlived",
        "certificatesDuration": 168,
        "caCertificates": [str(workbench.paths.root / "ca.pem")],
        "dnsChallenge": {"provider": "cloudflare", "resolvers": ["1.1.1.1:53", "[2606:4700::1111]:53"]},
    }
    wanted = {"certResolver": "letsencrypt", "domains": [{"main": "example.org", "sans": ["*.example.org"]}]}
    assert dynamic(spec, "routes")["http"]["routers"]["api"]["tls"] == wanted


def test_by_http_01_each_route_asks_for_its_own_name_and_no_dns_provider_is_needed(workbench):
    spec = workbench.spec(BASE + "CERT_CHALLENGE=http-01\n")
    assert acme(spec)["httpChallenge"] == {"entryPoint": "web"}
    assert dynamic(spec, "routes")["http"]["routers"]["api"]["tls"] == {"certResolver": "letsencrypt"}
    assert "traefik/dynamic/acme.yml" not in render(spec).files, "Traefik answers challenges itself"


def test_an_authority_each_has_a_file_of_its_own(workbench):
    """Traefik goes on serving and renewing what another authority has signed."""
    first = workbench.spec(BASE + CLOUDFLARE).resolver.storage
    assert workbench.spec(BASE.replace("letsencrypt", "letsencrypt-staging") + CLOUDFLARE).resolver.storage != first


@pytest.mark.parametrize(
    ("env", "provider", "open_part", "secret"),
    [
        (CLOUDFLARE, "cloudflare", {}, "CF_DNS_API_TOKEN"),
        (
            RFC2136,
            "rfc2136",
            {
                "RFC2136_NAMESERVER": "192.168.1.2",
                "RFC2136_TSIG_KEY": "autogit",
                "RFC2136_TSIG_ALGORITHM": "hmac-sha256",
            },
            "RFC2136_TSIG_SECRET",
        ),
        (
            ROUTE53,
            "route53",
            {"AWS_REGION": "us-east-1", "AWS_HOSTED_ZONE_ID": "Z1"},
            "AWS_SHARED_CREDENTIALS",
        ),
    ],
)
def test_what_a_provider_needs_is_in_the_environment_and_its_secret_in_a_file(
    workbench, env, provider, open_part, secret
):
    spec = workbench.spec(BASE + env)
    assert acme(spec)["dnsChallenge"]["provider"] == provider
    (traefik,) = (s for s in spec.services if s.name == "traefik")
    (kept,) = traefik.secrets
    assert (kept.name, kept.mode) == (secret, 0o600)
    assert kept.file == str(workbench.paths.secrets / "traefik" / f"{secret}.v1")
    seen = environment(spec)
    assert {k: v for k, v in seen.items() if k in open_part} == open_part
    assert seen[f"{secret}_FILE"] == kept.file
    shown = (
        repr(spec)
        + "".join(file.text for file in render(spec).files.values())
        + repr(desired_resources(spec, render(spec)))
    )
    assert "canary" not in shown
    assert "Y2FuYXJ5" not in shown
    assert f"secret/{secret}" in {str(r.address) for r in desired_resources(spec, render(spec))}


def test_google_has_its_own_file_and_needs_one(workbench):
    env = BASE + "DNS_PROVIDER=google\nGOOGLE_PROJECT=home\nINGRESS_IP=93.184.215.14\n"
    seen = environment(workbench.spec(env + "GOOGLE_CREDENTIALS_FILE=/etc/key.json\n"))
    assert (seen["GCE_PROJECT"], seen["GCE_SERVICE_ACCOUNT_FILE"]) == ("home", "/etc/key.json")
    with pytest.raises(UnsupportedError, match="default credentials") as refused:
        workbench.spec(env)
    assert "GOOGLE_CREDENTIALS_FILE" in refused.value.hint


def test_of_a_zone_of_the_own_network_only_its_own_server_is_asked(workbench):
    told = acme(workbench.spec(BASE + RFC2136 + "RFC2136_PRIVATE=true\nDNS_RESOLVERS=1.1.1.1\n"))["dnsChallenge"]
    assert told["resolvers"] == ["192.168.1.2:53"]
    assert told["propagation"] == {"disableANSChecks": True, "requireAllRNS": True}
    assert "propagation" not in acme(workbench.spec(BASE + RFC2136))["dnsChallenge"]


def test_in_a_container_every_path_is_one_that_traefik_sees(workbench):
    spec = workbench.spec("RUNTIME=docker\n" + BASE + CLOUDFLARE + "ACME_CA_FILE=/etc/ca.pem\n")
    assert acme(spec)["storage"] == "/data/letsencrypt/acme.json"
    assert acme(spec)["caCertificates"] == ["/run/autogit/acme-ca.pem"]
    (container,) = (s.container for s in spec.services if s.name == "traefik")
    places = {m.target: (m.kind, m.source, m.read_only) for m in container.mounts}
    assert places["/data"] == ("bind", str(workbench.paths.data / "traefik"), False)
    assert places["/run/autogit/acme-ca.pem"] == ("bind", "/etc/ca.pem", True)
    assert container.environment["CF_DNS_API_TOKEN_FILE"] == "/run/secrets/CF_DNS_API_TOKEN"
    assert "CF_DNS_API_TOKEN" in container.secrets
    assert not [note for note in spec.notes if (note.level, note.subject) == ("warning", "traefik")]


def test_a_good_former_certificate_is_served_until_traefik_has_its_own(workbench):
    """A certificate that covers the names keeps Traefik from ordering for routes; a generated default is ordered."""
    former = knowing(workbench, CertificateFacts(3, due="Traefik has no certificate yet")).spec(BASE + CLOUDFLARE)
    tls = dynamic(former, "tls")["tls"]
    assert tls["certificates"][0]["certFile"].endswith("/example.org/v3/fullchain.pem")
    assert tls["stores"]["default"] == {
        "defaultGeneratedCert": {
            "resolver": "letsencrypt",
            "domain": {"main": "example.org", "sans": ["*.example.org"]},
        }
    }
    assert any("until then the former one is served" in note.message for note in former.notes)
    settled = knowing(workbench, replace(HELD, version=3)).spec(BASE + CLOUDFLARE)
    assert set(dynamic(settled, "tls")["tls"]) == {"options"}
    assert not any("Traefik orders it" in note.message for note in settled.notes)


def test_autogit_wishes_for_no_certificate_of_its_own(workbench):
    spec = workbench.spec(BASE + CLOUDFLARE)
    wished = desired_resources(spec, render(spec))
    assert not [r for r in wished if r.address.kind == "certificate"]
    (storage,) = (r for r in wished if r.address.kind == "acme_storage")
    assert storage.attributes == {"mode": "0600"}
    (process,) = (r for r in wished if str(r.address) == "process/traefik")
    assert storage.address in process.depends_on


@pytest.mark.parametrize(
    ("env", "sentence", "hint"),
    [
        ("CERT_ISSUER=local\n", "speaks ACME", "CERT_ISSUER=letsencrypt"),
        ("CERT_ISSUER=letsencrypt\nINGRESS=nginx\n", "needs Traefik as ingress", "INGRESS=traefik"),
        ("CERT_ISSUER=letsencrypt\nACME_EAB_KEY_ID=kid\n", "cannot bind the account", "ACME_EAB"),
        ("CERT_ISSUER=letsencrypt\nCERT_FALLBACK_ISSUER=local\n", "knows no fallback", "CERT_FALLBACK_ISSUER"),
        (
            "CERT_ISSUER=letsencrypt\nCERT_DEPLOY_HOOKS='[[\"true\"]]'\n",
            "runs no CERT_DEPLOY_HOOKS",
            "CERT_DEPLOY_HOOKS",
        ),
        ("CERT_ISSUER=letsencrypt\n", "can use cloudflare, google, rfc2136, route53", "CERT_CHALLENGE=http-01"),
        (
            "CERT_ISSUER=letsencrypt\nDNS_PROVIDER=memory\n",
            "cannot prove names with DNS_PROVIDER=memory",
            "CERT_MANAGER",
        ),
    ],
)
def test_what_traefik_cannot_do_is_refused_with_a_way_out(workbench, env, sentence, hint):
    with pytest.raises(UnsupportedError) as refused:
        workbench.spec(
            "SERVICES_ENABLED=api\nBASE_DOMAIN=example.org\nINGRESS_IP=93.184.215.14\nCERT_MANAGER=traefik\n" + env
        )
    assert sentence in refused.value.message
    assert hint in refused.value.hint
    assert "CERT_MANAGER=autogit" in refused.value.hint


@pytest.mark.parametrize(
    ("held", "wanted", "enough"),
    [
        ((), ("a.test",), False),
        (("a.test", "*.a.test"), ("a.test", "*.a.test"), True),
        (("*.a.test",), ("api.a.test",), True),
        (("*.a.test",), ("a.test",), False),
        (("*.a.test",), ("x.api.a.test",), False),
    ],
)
def test_a_wildcard_serves_for_one_label(held, wanted, enough):
    assert covers(held, wanted) is enough


@pytest.mark.parametrize(
    ("facts", "other", "action"),
    [
        (CertificateFacts(), "", Action.REPLACE),
        (HELD, "", Action.NOOP),
        (HELD, "mode", Action.REPLACE),
        (CertificateFacts(), "file", Action.NOOP),
    ],
    ids=["none yet", "held", "file was open", "it is told of routes anyway"],
)
def test_traefik_is_started_anew_where_it_would_order_nothing_by_itself(workbench, facts, other, action):
    spec = knowing(workbench, facts).spec(BASE + CLOUDFLARE)
    address = Address("process", "traefik")
    changes = [Change(address, Action.NOOP, "in sync", (), Resource(address, {}), Resource(address, {}))]
    if other:
        place = storage_address(spec.resolver) if other == "mode" else Address("file", "traefik/dynamic/routes.yml")
        changes.append(Change(place, Action.UPDATE, "x", (), Resource(place, {}), Resource(place, {})))
    anew = order_anew(spec, Plan(tuple(changes), Policy.SYNC))
    assert next(c.action for c in anew.changes if c.address == address) is action
    healed = with_storage_read(spec, Plan(tuple(changes), Policy.SYNC))
    is_mended = next(c.action for c in healed.changes if c.address == address) is Action.REPLACE
    assert is_mended is (other == "mode"), "healing has nothing ordered, it has a mended file read"


def test_a_former_certificate_goes_only_once_traefik_runs_that_has_its_own(workbench):
    """Else it would be gone as soon as anything writes that file, before Traefik was started to serve another."""
    address = Address("process", "traefik")

    def former(need):
        entry = LockEntry(address, {"state": "running"}, depends_on=(Address.parse(need),))
        workbench.lockfile = Lockfile(entries={address: entry})
        spec = knowing(workbench, replace(HELD, version=3)).spec(BASE + CLOUDFLARE)
        return [one["certFile"].rpartition("certs/")[2] for one in dynamic(spec, "tls")["tls"].get("certificates", ())]

    assert former("certificate/example.org") == ["example.org/v3/fullchain.pem"]
    assert former("acme_storage/letsencrypt") == []
