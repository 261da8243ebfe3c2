"""What is looked at before an order, against real BIND servers: a root, zones with and without faults, resolvers."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import threading

import pytest

from autogit.errors import RejectedError
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.ssl.solvers.http_probe import Probe
from autogit.providers.ssl.solvers.preflight import (
    Preflight,
    PreflightRequest,
    is_public_authority,
    own_network,
    preflight,
    require,
)
from tests.providers.dns.dnsmasq_server import free_port
from tests.providers.dns.world.named_world import (  # noqa: F401 - a fixture by its name
    LOCAL,
    NOBODY,
    ONE,
    RESOLVER,
    TWO,
    _sockets_stay_on_loopback,
    dns_world,
    zone_text,
)

pytestmark = pytest.mark.integration

CA = ("letsencrypt.org",)
HERE = "203.0.113.5"
DS = "12345 13 2 " + "0A" * 32
TOP = [
    *("good.org. NS ns1.good.org.", f"ns1.good.org. A {ONE}", "good.org. NS ns2.good.org.", f"ns2.good.org. A {TWO}"),
    *("broken.org. NS ns1.good.org.", f"broken.org. DS {DS}", "gone.org. NS ns1.good.org."),
    *("half.org. NS ns1.good.org.", "half.org. NS ns.half.org.", f"ns.half.org. A {NOBODY}"),
]
BELOW = ["lame NS ns1.good.org.", "down NS ns.down", f"ns.down A {NOBODY}"]
TEST = frozenset({"public-name"})
GOOD = [
    *("@ A 203.0.113.5", "www A 203.0.113.5", "both A 203.0.113.5", "both AAAA 2001:db8::dead", "six AAAA 2001:db8::5"),
    *("lan A 192.168.1.5", "carrier A 100.64.3.4", "text TXT none", "alias CNAME www", "moved A 198.51.100.9"),
    *('le CAA 0 issue "letsencrypt.org"', 'other CAA 0 issue "other-ca.example"', 'none CAA 0 issue ";"'),
    *('wild CAA 0 issue "letsencrypt.org"', 'wild CAA 0 issuewild "other-ca.example"'),
    'dns CAA 0 issue "letsencrypt.org; validationmethods=dns-01"',
    'account CAA 0 issue "letsencrypt.org; accounturi=https://ca/acct/1"',
    "_acme-challenge.far CNAME far.half.org.",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    servers = {"ns1.good.org": ONE, "ns2.good.org": TWO}
    good = zone_text("good.org", servers, *GOOD)
    first = {"ns1.good.org": ""}
    with dns_world(tmp_path_factory.mktemp("preflight")) as made:
        made.run_root(BELOW, *TOP)
        made.run_resolver()
        zones = {
            "good.org": good,
            "broken.org": zone_text("broken.org", first),
            "half.org": zone_text("half.org", first | {"ns.half.org": NOBODY}, "far TXT x"),
        }
        made.run(ONE, zones)
        made.run(TWO, {"good.org": good})
        yield made


@pytest.fixture
def look(world):
    """A function that returns the checks of an order by their names: those that are not simply fine, or all of one."""

    def looked(*names, probe=None, system=f"{RESOLVER}:{world.port}", lookup=None, **told):
        lookup = lookup or world.lookup(system=(system,), timeout_seconds=1.0)
        request = PreflightRequest(names, **{"ca_domains": CA} | told)
        return asyncio.run(preflight(lookup, request, probe and probe(lookup)))

    return looked


def odd(checks):
    return [(one.check, one.ok) for one in checks if not one.ok or one.is_warning]


def only(checks, check):
    (found,) = [one for one in checks if one.check == check]
    return found


def test_an_order_that_will_do_has_no_doubts(look):
    """Names of one zone are one line each check."""
    checks = look("good.org", "*.good.org", "www.good.org")
    assert odd(checks) == []
    assert [one.check for one in checks] == ["servers", "dnssec", "split-horizon", "caa", "caa", "caa"]
    assert checks[0].sentence == "all 2 servers of good.org answer"
    assert checks[0].names == ("good.org", "www.good.org")
    require("letsencrypt", checks)


@pytest.mark.parametrize(
    ("name", "kind", "account", "ok", "said"),
    [
        ("le.good.org", "dns-01", "", True, "allows it"),
        ("deep.below.le.good.org", "dns-01", "", True, "CAA at le.good.org allows it"),
        ("other.good.org", "dns-01", "", False, "lets other-ca.example issue, not letsencrypt.org"),
        ("none.good.org", "dns-01", "", False, "lets nobody issue"),
        ("wild.good.org", "dns-01", "", True, "allows it"),
        ("*.wild.good.org", "dns-01", "", False, "issuewild lets other-ca.example issue"),
        ("dns.good.org", "dns-01", "", True, "allows it"),
        ("dns.good.org", "http-01", "", False, "but not by http-01"),
        ("account.good.org", "dns-01", "https://ca/acct/1", True, "allows it"),
        ("account.good.org", "dns-01", "https://ca/acct/2", False, "another ACME account"),
    ],
)
def test_caa_decides_as_the_authority_will(look, name, kind, account, ok, said):
    found = only(look(name, kind=kind, account_uri=account, skip=frozenset({"address"})), "caa")
    assert (found.ok, found.names) == (ok, (name,))
    assert said in found.sentence
    if not ok:
        tag = "issuewild" if name.startswith("*.") else "issue"
        assert found.fix.endswith(f'{name.removeprefix("*.")}: 0 {tag} "letsencrypt.org"')


def test_an_account_that_is_not_known_yet_is_a_warning(look):
    found = only(look("account.good.org"), "caa")
    assert found.is_warning


def test_an_authority_that_names_no_identity_is_not_looked_for(look):
    """Older servers: no record can be compared then."""
    found = only(look("other.good.org", ca_domains=()), "caa")
    assert (found.ok, found.is_warning) == (True, False)
    assert "not looked at" in found.sentence


def test_broken_dnssec_is_a_no(look):
    checks = look("www.broken.org")
    found = only(checks, "dnssec")
    assert not found.ok
    assert "DNSSEC of broken.org is broken: the parent has a DS, the zone has no key" in found.sentence
    assert "DS record" in found.fix
    with pytest.raises(RejectedError) as caught:
        require("letsencrypt", checks)
    assert caught.value.message.startswith("letsencrypt: not asked, it would refuse: DNSSEC of broken.org")
    assert [fault.subject for fault in caught.value.faults] == ["dnssec"]


def test_a_zone_that_nobody_serves_is_a_no(look):
    """Delegated to a server that does not know it."""
    found = only(look("www.lame.test", skip=TEST), "servers")
    assert not found.ok
    assert "answers REFUSED: it does not serve the zone lame.test" in found.sentence
    assert "delegation" in found.fix


def test_a_server_that_is_down_is_a_warning(look):
    found = only(look("www.half.org"), "servers")
    assert found.is_warning
    assert f"ns.half.org ({NOBODY}) does not answer" in found.sentence


def test_servers_that_this_host_does_not_reach_are_a_warning(look):
    """They may be up for everybody else: the authority decides."""
    checks = look("www.down.test", skip=TEST)
    assert odd(checks) == [("servers", True), ("caa", True)]
    assert f"no server of down.test answers here: ns.down.test ({NOBODY}) does not answer" in checks[0].sentence


def test_the_zone_that_a_challenge_is_delegated_to_is_looked_at(look):
    found = only(look("far.good.org"), "servers")
    assert "not every server of half.org answers" in found.sentence
    assert {one.check for one in look("far.good.org") if "half.org" in one.sentence} >= {"servers", "dnssec"}


def test_without_any_dns_everything_is_a_warning(look):
    lookup = Lookup(LookupConfig(resolvers=(), doh_urls=(), system=()))
    checks = look("www.good.org", lookup=lookup)
    assert all(one.ok for one in checks)
    assert "www.good.org cannot be looked at: nobody tells the zone" in only(checks, "servers").sentence


def test_a_zone_that_resolvers_fail_for_is_a_warning(look):
    found = only(look("www.gone.org"), "servers")
    assert found.is_warning
    assert "answers SERVFAIL" in found.sentence
    assert "mend the zone's servers" in found.fix


def test_a_redirected_port_53_is_a_warning(world, look):
    """Every server seems to be a resolver: a router answers in their place."""
    lookup = world.lookup(reach=lambda _: (RESOLVER, world.port), system=(), timeout_seconds=1.0)
    found = only(look("www.good.org", lookup=lookup), "servers")
    assert found.is_warning
    assert "port 53 is redirected here" in found.sentence


def test_split_horizon_is_a_warning(world, look):
    """The resolver of this network has a zone of its own of that name."""
    own = zone_text("good.org", {"ns.good.org": LOCAL}, "www A 192.168.1.5")
    world.run_resolver(LOCAL, zones={"good.org": own})
    try:
        found = only(look("www.good.org", system=f"{LOCAL}:{world.port}"), "split-horizon")
    finally:
        world.stop(LOCAL)
    assert found.is_warning
    assert "another zone here than outside" in found.sentence
    assert "public zone good.org" in found.fix


@pytest.mark.parametrize(
    "name",
    ["git.home.lan", "nas.local", "a.b.home.arpa", "git.internal", "git", "localhost", "*.home", "x.test", "10.0.0.1"],
)
def test_a_name_of_the_own_network_is_sent_to_the_own_authority(look, world, name):
    """A public one cannot see it; nobody is asked about it."""
    world.relays.asked.clear()
    found = only(look(name, "www.good.org"), "public-name")
    assert (found.ok, found.names) == (False, (name,))
    assert "CERT_ISSUER=local" in found.fix
    assert not [asked for asked in world.relays.asked if asked[1].endswith(name.removeprefix("*."))]
    assert own_network(name)


def test_an_address_and_an_odd_name_are_refused(look):
    assert "is an address" in only(look("192.0.2.1"), "public-name").sentence
    with pytest.raises(RejectedError, match="is not a DNS name"):
        look("a..b")


@pytest.mark.parametrize(
    ("url", "is_public"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", True),
        ("https://8.8.8.8:14000/dir", True),
        ("https://127.0.0.1:14000/dir", False),
        ("https://[::1]:14000/dir", False),
        ("https://192.168.1.9/acme/acme/directory", False),
        ("https://100.64.0.9/dir", False),
        ("https://ca.home.arpa/acme/directory", False),
        ("https://step-ca:9000/acme/acme/directory", False),
        ("https://localhost:14000/dir", False),
    ],
)
def test_whose_eyes_an_authority_has(url, is_public):
    assert is_public_authority(url) is is_public


def test_a_domain_that_nobody_has_is_a_no(look):
    found = only(look("git.nobody-has-this.org"), "public-name")
    assert not found.ok
    assert "no public zone holds nobody-has-this.org" in found.sentence


def test_for_an_authority_of_the_own_network_own_names_will_do(look, world):
    """Pebble, step-ca: whether they see the name is theirs to say."""
    checks = look("git.nobody-has-this.org", "git.home.lan", is_public=False)
    assert all(one.ok for one in checks)


@pytest.mark.parametrize(
    ("name", "ok", "said"),
    [
        ("www.good.org", True, "leads to 203.0.113.5"),
        ("alias.good.org", True, "leads to 203.0.113.5"),
        ("six.good.org", True, "leads to 2001:db8::5"),
        ("moved.good.org", False, "leads to 198.51.100.9, and this is 203.0.113.5, 2001:0DB8::5"),
        ("both.good.org", False, "leads to 2001:db8::dead, and this is"),
        ("lan.good.org", False, "leads to 192.168.1.5, which only the own network reaches"),
        ("carrier.good.org", False, "leads to 100.64.3.4, which only the own network reaches"),
        ("text.good.org", False, "leads nowhere: text.good.org has no address"),
        ("absent.good.org", False, "leads nowhere"),
    ],
)
def test_for_http_every_address_of_a_name_has_to_lead_here(look, name, ok, said):
    found = only(look(name, kind="http-01", own_addresses=(HERE, "2001:0DB8::5")), "address")
    assert (found.ok, bool(found.fix)) == (ok, not ok)
    assert said in found.sentence


def test_without_own_addresses_nothing_is_compared(look):
    """Behind a proxy every address is the proxy's."""
    assert only(look("moved.good.org", kind="http-01"), "address").ok


def test_a_wildcard_by_http_is_a_no(look):
    found = only(look("*.good.org", kind="http-01"), "wildcard")
    assert (found.ok, found.fix) == (False, "use dns-01 for it")


@contextlib.contextmanager
def web_server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def probe():
    """Of the addresses that are given something answers at port 80."""
    with web_server() as port:

        def made(*alive, strict=True):
            closed = free_port()
            return lambda lookup: Probe(
                lookup, lambda address, _: ("127.0.0.1", port if address in alive else closed), 2.0, strict=strict
            )

        yield made


def test_port_80_answers_whatever_it_says(look, probe):
    found = only(look("www.good.org", kind="http-01", probe=probe(HERE)), "port-80")
    assert (found.ok, found.is_warning) == (True, False)


def test_a_closed_port_80_is_a_no_with_the_ways_out(look, probe):
    found = only(look("www.good.org", kind="http-01", probe=probe()), "port-80")
    assert not found.ok
    assert f"{HERE} cannot be asked for http://www.good.org/" in found.sentence
    assert "dns-01" in found.fix
    warned = only(look("www.good.org", kind="http-01", probe=probe(strict=False)), "port-80")
    assert warned.is_warning


def test_one_dead_address_of_two_is_a_warning(look, probe):
    found = only(look("both.good.org", kind="http-01", probe=probe(HERE)), "port-80")
    assert found.is_warning
    assert "2001:db8::dead" in found.sentence


def test_where_the_address_is_wrong_nobody_is_knocked_at(look, probe):
    checks = look("moved.good.org", kind="http-01", own_addresses=(HERE,), probe=probe())
    assert [one.check for one in checks if one.check == "port-80"] == []


def test_checks_can_be_left_out(look):
    skip = frozenset({"caa", "dnssec", "split-horizon", "servers"})
    assert look("none.good.org", skip=skip) == ()
    assert only(look("git.nobody.test", skip=skip), "public-name").ok is False


def test_all_that_is_wrong_is_said_at_once():
    checks = [
        Preflight("caa", False, "CAA says no", "mend it", ("a.org",)),
        Preflight("dnssec", True, "fine"),
        Preflight("address", False, "a.org leads nowhere", "lead it here"),
    ]
    with pytest.raises(RejectedError) as caught:
        require("letsencrypt", checks)
    assert caught.value.message == "letsencrypt: not asked, it would refuse: CAA says no; a.org leads nowhere"
    assert caught.value.hint == "mend it; lead it here"
    assert len(caught.value.faults) == 2
    require("letsencrypt", checks[1:2])
