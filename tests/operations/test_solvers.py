"""What is looked at before a public authority is asked for http-01: a refusal here costs no try there."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from autogit.core.settings import build_settings
from autogit.core.store import lockfile_store
from autogit.errors import RejectedError, UnsupportedError
from autogit.model.acme import AcmeServer
from autogit.model.lockfile import Lockfile
from autogit.model.project import ProjectPaths
from autogit.operations.solvers import load_proofs
from autogit.providers.base import ProviderContext
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from tests.providers.dns.bind import bind_server
from tests.providers.dns.dnsmasq_server import free_port

pytestmark = pytest.mark.integration

HERE, ELSEWHERE = "93.184.215.14", "93.184.216.34"
ZONE = [f"good A {HERE}", f"moved A {ELSEWHERE}", "inside A 192.168.1.7", f"bound A {HERE}"]
ZONE += ['bound CAA 0 issue "other-ca.org"', 'good CAA 0 issue "letsencrypt.org"']


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The one resolver that is asked; nobody is asked elsewhere."""
    with bind_server(tmp_path_factory.mktemp("world") / "bind", {"autogit-shop.net": ZONE}, recursion=True) as bind:
        here = {"resolvers": (bind.server,), "system": (bind.server,), "doh_urls": ()}
        yield Lookup(LookupConfig(reach=lambda _server: ("127.0.0.1", bind.port), **here))


@pytest.fixture
def looked(world, tmp_path):
    """Look at names as before an order at Let's Encrypt; what was said on the way is returned."""
    paths, said = ProjectPaths(tmp_path, tmp_path / ".env"), []
    lockfile_store(paths).save(Lockfile(ports={"traefik/http": free_port(), "traefik/acme": free_port()}))

    def look(*names, **told):
        values = {
            "BASE_DOMAIN": "autogit-shop.net",
            "CERT_ISSUER": "letsencrypt",
            "CERT_CHALLENGE": "http-01",
            **told,
        }
        settings = build_settings(values, (), env_dir=tmp_path)
        context = ProviderContext(paths, progress=lambda _address, text: said.append(text))
        server = AcmeServer("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory")

        async def directory():
            return SimpleNamespace(caa_identities=("letsencrypt.org",))

        full = tuple(f"{name}.autogit-shop.net" for name in names)
        proofs = load_proofs(settings, context, None, world)
        asyncio.run(proofs.look_first(SimpleNamespace(server=server, directory=directory), full))
        return said

    return look


def test_a_name_that_leads_here_and_may_be_signed_passes_without_any_dns_provider(looked):
    assert "leads" not in " ".join(looked("good", INGRESS_IP=HERE))


@pytest.mark.parametrize(
    ("name", "sentence", "fix"),
    [
        ("moved", f"leads to {ELSEWHERE}, and this is {HERE}", "or use dns-01"),
        ("inside", "leads to 192.168.1.7, which only the own network reaches", "use dns-01"),
        ("nowhere", "leads nowhere", "have a record of nowhere.autogit-shop.net lead to"),
        ("bound", "other-ca.org", 'issue "letsencrypt.org"'),
    ],
)
def test_what_the_authority_would_refuse_is_said_with_the_way_out(looked, name, sentence, fix):
    with pytest.raises(RejectedError, match="not asked, it would refuse") as refused:
        looked("good", name, INGRESS_IP=HERE)
    assert sentence in refused.value.message
    assert fix in refused.value.hint


@pytest.mark.parametrize("told", [{}, {"INGRESS_IP": "192.168.1.7"}, {"INGRESS_IP": HERE, "DNS_PROXIED": "true"}])
def test_where_names_should_lead_is_compared_only_where_it_is_known(looked, told):
    """Behind a router this host's own address is another one; behind a proxy names lead to that."""
    assert "leads" not in " ".join(looked("moved", **told))


def test_without_dns_provider_the_other_proof_is_offered(looked):
    with pytest.raises(UnsupportedError, match="needs a DNS provider") as refused:
        looked("good", CERT_CHALLENGE="dns-01")
    assert "CERT_CHALLENGE=http-01" in refused.value.hint
