"""DNS as a user sees it: the real command line against a real BIND and a real dnsmasq on loopback ports.

A short seeded sample of kills runs in `make test`; `make soak` runs the long form and prints its figures.
"""

from __future__ import annotations

import contextlib
import re
import secrets

import dns.rdatatype
import dns.zone
import pytest

from tests.integration.dns_lab import (
    APEX,
    CAA,
    DECLARED,
    FOREIGN,
    GOOD_ROW,
    HOME,
    LAN,
    LAN6,
    NO_ROWS,
    OTHER_LAN,
    OTHER_WORLD,
    ROWS_THAT_CANNOT_BE,
    WILD,
    WORLD,
    BindZone,
    DnsmasqZone,
    adopting,
    apply_as_asked,
    converges_after_kills,
    has_platform,
    heartbeat,
    held,
    project,
    put_foreign,
    sources,
    written,
)
from tests.providers.dns.bind import TsigKey, bind_server
from tests.providers.dns.dnsmasq_server import dnsmasq_server

pytestmark = pytest.mark.integration

CHANGES_PENDING, BLOCKED, USAGE = 3, 2, 2


@pytest.fixture(scope="module")
def bind(tmp_path_factory):
    """A BIND of many zones: each test takes the next one."""
    names = [f"home{number}.test" for number in range(100)]
    with bind_server(tmp_path_factory.mktemp("bind"), {name: [] for name in names}) as server:
        server.free = [BindZone(server, name) for name in names]
        yield server


@pytest.fixture
def zone(bind):
    return bind.free.pop(0)


@pytest.fixture
def home(zone):
    """A project that leads into a zone of its own; nothing was brought up yet."""
    with project(zone, **HOME) as one:
        yield one


@pytest.fixture
def dnsmasq(tmp_path):
    with dnsmasq_server(tmp_path / "dnsmasq", "local-ttl=60", "local=/house.test/") as server:
        yield DnsmasqZone(server, "house.test")


@pytest.fixture(params=["bind", "dnsmasq"])
def served(request):
    """A zone of either server."""
    return request.getfixturevalue({"bind": "zone", "dnsmasq": "dnsmasq"}[request.param])


# 1. The one plan


def test_up_makes_the_names_answer_and_a_second_finds_nothing_to_do(served):
    with project(served, **HOME) as home:
        first = home.run("up", "--yes")
        assert re.search(r"^\[ *\d+/\d+\] dns_record/\*\.", first.stderr, re.MULTILINE)
        below = f"x{secrets.token_hex(4)}"
        for name in (below, "api", ""):
            assert served.values(name, "A") == [LAN], name
            assert served.values(name, "AAAA") == [LAN6], name
        assert served.values("", "CAA") == [CAA]
        again = home.run("plan", "--exit-code")
        assert again.stdout.startswith("0 to create, 0 to update, 0 to replace, 0 to delete, ")
        assert "Nothing to do" in home.run("up").stdout
        assert home.probe(f"api.{served.name}", "/healthz").status == 200


def test_what_somebody_changed_or_took_away_is_put_right_by_the_next_up_after_saying_so(home, zone):
    home.run("up", "--yes")
    zone.write("*", "A", OTHER_LAN)
    zone.write("", "AAAA")
    plan = home.run("plan", "--exit-code", expect=CHANGES_PENDING).stdout
    assert re.search(r"~ .*\*\.\S+/A +update +changed behind AutoGit's back: values", plan)
    assert re.search(r"\+ .*/AAAA +create +removed behind AutoGit's back", plan)
    home.run("up", "--yes")
    assert zone.records() == WILD | APEX
    assert "Nothing to do" in home.run("up").stdout


# 2. What somebody else made


def test_a_foreign_record_in_the_way_stops_everything_until_it_is_adopted(home, zone):
    zone.write("*", "A", OTHER_LAN)
    address = zone.address("*", "A")
    before, serial = written(home), zone.server.serial(zone.name)

    line = next(x for x in home.run("plan").stdout.splitlines() if address in x)
    assert line.startswith("!")
    assert OTHER_LAN in line
    assert LAN in line
    change = next(c for c in home.json("plan")["changes"] if c["address"] == address)
    assert change["action"] == "hold"
    assert change["foreign"] == "somebody else made it"
    refused = home.run("up", "--yes", expect=BLOCKED)
    assert "error[blocked]" in refused.stderr
    assert re.search(rf"there {OTHER_LAN}, +wished {LAN}", refused.stderr)
    assert f"--adopt {address}" in refused.stderr, "the way out is said"
    assert written(home) == before
    assert zone.server.serial(zone.name) == serial
    assert not has_platform(home)

    home.run("up", "--yes", "--adopt", address)
    assert zone.records() == WILD | APEX
    assert zone.marks() == set(zone.records())
    assert home.probe(f"api.{zone.name}", "/healthz").status == 200
    assert "Nothing to do" in home.run("up").stdout


def test_what_another_installation_made_is_its_own_until_it_is_adopted(home, zone):
    home.run("dns", "apply", "--yes")
    with project(zone, **HOME, DNS_TTL=60) as other:
        everything, owner = zone.everything(), home.lockfile["owner"]
        said = other.run("dns", "apply", "--yes", expect=BLOCKED).stderr
        assert said.count(f"{owner} made it") == 5
        assert zone.everything() == everything
        other.run("dns", "apply", "--yes", *adopting(zone, WILD | APEX))
        assert {ttl for ttl, _ in zone.records().values()} == {60}
        assert zone.marks() == set(WILD | APEX)
        rows = home.json("dns", "records")["records"]
        assert {row["foreign"] for row in rows} == {f"autogit of {other.lockfile['owner']} made it"}
        home.run("dns", "apply", "--yes", expect=BLOCKED)


def test_a_lost_lockfile_changes_nothing_and_all_can_be_adopted_again(home, zone):
    home.run("dns", "apply", "--yes")
    (home.root / "autogit.lock.json").unlink()
    everything = zone.everything()
    home.run("dns", "apply", "--yes", expect=CHANGES_PENDING)
    assert zone.everything() == everything
    home.run("dns", "apply", "--yes", *adopting(zone, WILD | APEX))
    assert zone.records() == WILD | APEX
    assert zone.addresses() == held(home)
    home.run("dns", "plan", "--exit-code")


def test_an_alias_in_the_way_is_told_and_left(home, zone):
    zone.write("api", "CNAME", "elsewhere.example.org.")
    home.set(DNS_WILDCARD="false")
    everything = zone.everything()
    said = home.run("dns", "apply", "--yes", expect=BLOCKED).stderr
    assert f"{zone.address('api', 'A')} " in said
    assert "cannot be beside the CNAME to elsewhere.example.org that is there" in said
    assert zone.everything() == everything


def test_a_line_of_somebody_elses_in_dnsmasq_is_never_written_over(dnsmasq):
    dnsmasq.write_line(f"address=/{dnsmasq.name}/{OTHER_LAN}")
    with project(dnsmasq, INGRESS_IP=LAN) as home:
        said = home.run("dns", "apply", "--yes", expect=BLOCKED).stderr
        assert re.search(rf"there {OTHER_LAN}, +wished {LAN}", said)
        addresses = [f"dns_record/{name}{dnsmasq.name}/A" for name in ("*.", "")]
        done = home.run("dns", "apply", "--yes", *(w for a in addresses for w in ("--adopt", a)), expect=None)
        assert done.returncode
        assert f"is in {dnsmasq.foreign}, which AutoGit does not change" in done.stderr
        assert dnsmasq.foreign.read_text() == f"address=/{dnsmasq.name}/{OTHER_LAN}\n"
        assert dnsmasq.values("api", "A") == [OTHER_LAN]
        dnsmasq.foreign.unlink()
        dnsmasq.server.restart()
        home.run("dns", "apply", "--yes")
        assert dnsmasq.values("api", "A") == dnsmasq.values("", "A") == [LAN]


def test_a_foreign_record_that_says_the_same_is_left_and_told_of(home, zone):
    zone.write("*", "A", LAN)
    home.run("dns", "apply", "--yes", expect=CHANGES_PENDING)
    assert zone.records() == WILD | APEX
    assert ("*", "A") not in zone.marks()
    home.run("dns", "apply", "--yes", "--adopt", zone.address("*", "A"))
    assert ("*", "A") in zone.marks()


def test_adopting_what_is_not_there_is_a_sentence(home, zone):
    said = home.run("dns", "apply", "--yes", "--adopt", f"dns_record/nobody.{zone.name}/A", expect=USAGE).stderr
    assert f"dns_record/nobody.{zone.name}/A: nobody else made that" in said
    assert zone.everything() == {}


def test_foreign_records_outlive_every_change_of_the_settings(home, zone):
    put_foreign(zone)
    home.run("dns", "apply", "--yes")
    assert zone.records() == WILD | APEX | FOREIGN
    home.set(INGRESS_IP=OTHER_LAN)
    home.run("dns", "apply", "--yes")
    moved = {key: (300, (OTHER_LAN,)) if key[1] == "A" else one for key, one in (WILD | APEX).items()}
    assert zone.records() == moved | FOREIGN

    home.set(INGRESS_IP=LAN, DNS_TTL=60)
    home.run("dns", "apply", "--yes")
    assert {ttl for key, (ttl, _) in zone.records().items() if key not in FOREIGN} == {60}

    home.set(DNS_WILDCARD="false", DNS_TTL=None)
    apply_as_asked(home)
    hosts = {("api", "A"): (300, (LAN,)), ("api", "AAAA"): (300, (LAN6,)), ("", "CAA"): APEX["", "CAA"]}
    assert zone.records() == hosts | FOREIGN
    assert zone.marks() == set(hosts)
    home.set(DNS_WILDCARD=None)
    apply_as_asked(home)
    assert zone.records() == WILD | APEX | FOREIGN
    assert zone.marks() == set(WILD | APEX)

    home.set(DNS_PROVIDER="none")
    everything = zone.everything()
    assert re.search(r"! dns: 5 records are kept at rfc2136", home.run("plan").stdout)
    said = home.run("dns", "forget", "--all").stdout
    assert said.count("is left as it is") == 5
    assert zone.everything() == everything, "marks stay too: nobody knows the server any more"
    assert held(home) == set()
    assert "! dns:" not in home.run("plan").stdout


def test_taking_dns_away_from_a_running_platform_leaves_it_running(home, zone):
    home.run("up", "--yes")
    pid, records = home.process_pid("api"), zone.everything()
    home.set(DNS_PROVIDER="none")
    done = home.run("up", "--yes")
    assert home.process_pid("api") == pid
    assert zone.everything() == records
    assert held(home) == {zone.address(*key) for key in WILD | APEX}
    home.set(DNS_PROVIDER="rfc2136")
    assert "Nothing to do" in home.run("up", "--yes").stdout, "they are still ours"
    assert "5 records are kept at rfc2136" in done.stdout + done.stderr, "up says what nobody looks after any more"


def test_another_provider_is_refused_while_records_are_kept_at_the_former(home, zone, dnsmasq):
    home.run("dns", "apply", "--yes")
    house = {k: v for k, v in dnsmasq.settings(None).items() if k != "BASE_DOMAIN"}
    home.set(**house)
    for words in (("dns", "apply", "--yes"), ("up", "--yes")):
        said = home.run(*words, expect=USAGE).stderr
        assert "DNS_PROVIDER is dnsmasq now, and 5 records are kept at rfc2136 still" in said
    home.run("dns", "forget", "--all")
    home.run("dns", "apply", "--yes")
    assert dnsmasq.server.values(f"api.{zone.name}", "A") == zone.values("api", "A") == [LAN]


# 3. Looking, saving, exporting, letting go


def test_a_saved_plan_is_applied_and_no_other(home, zone):
    home.run("dns", "plan", "--out", "p.json")
    assert zone.everything() == {}, "looking changes nothing"
    home.set(INGRESS_IP=OTHER_LAN)
    stale = home.run("dns", "apply", "--plan", "p.json", expect=1)
    assert "error[stale-plan]" in stale.stderr
    assert zone.everything() == {}
    home.set(INGRESS_IP=LAN)
    home.run("dns", "apply", "--plan", "p.json")
    assert zone.records() == WILD | APEX
    assert not has_platform(home)


def test_dns_apply_says_what_it_did_and_claims_nothing_of_a_platform(home, zone):
    done = home.run("dns", "apply", "--yes")
    assert "5 changed, 0 failed" in done.stdout
    assert "served" not in done.stdout, "no route was asked"
    assert f"api.{zone.name}" not in done.stdout, "nothing runs at that address"


def test_records_lists_ours_and_on_request_all(home, zone):
    put_foreign(zone)
    home.run("dns", "apply", "--yes")
    mine = home.run("dns", "records").stdout
    assert re.search(rf"^\*\.{zone.name} +A +300 +{LAN} +rfc2136 +AutoGit$", mine, re.MULTILINE)
    assert "printer" not in mine
    everything = home.json("dns", "records", "--all")["records"]
    rows = {r["address"]: r for r in everything}
    assert rows[zone.address("printer", "A")] == {
        "address": zone.address("printer", "A"),
        "name": f"printer.{zone.name}",
        "type": "A",
        "values": ["192.168.1.20"],
        "ttl": 600,
        "proxied": False,
        "provider": "rfc2136",
        "zone": zone.name,
        "seen_by": "public",
        "foreign": "not AutoGit's to change",
        "wished": False,
    }
    assert {a for a, r in rows.items() if r["wished"] and not r["foreign"]} == zone.addresses() == held(home)


def test_an_exported_zone_is_a_zone_file(home, zone):
    put_foreign(zone)
    zone.write("long", "TXT", *('"' + "a" * 255 + '" "' + 'b\\"\\;' * 20 + '"',))
    home.run("dns", "apply", "--yes")
    text = home.run("dns", "export-zone").stdout
    parsed = dns.zone.from_text(text, zone.name, relativize=False, check_origin=True)
    answered = {
        (name.to_text(), str(rdata)) for name, _, rdata in parsed.iterate_rdatas() if rdata.rdtype == dns.rdatatype.TXT
    }
    assert (f"long.{zone.name}.", zone.values("long", "TXT")[0]) in answered
    assert parsed.get_rdataset(f"printer.{zone.name}.", "A").ttl == 600

    wished = home.json("dns", "export-zone", "--wished")["zones"]
    assert [(z["zone"], z["provider"], z["seen_by"]) for z in wished] == [(zone.name, "rfc2136", "public")]
    parsed = dns.zone.from_text("\n".join(wished[0]["lines"]), zone.name, check_origin=False)
    assert {(n.to_text().replace("@", ""), dns.rdatatype.to_text(r.rdtype)) for n, r in parsed.iterate_rdatasets()} == {
        *WILD,
        *APEX,
    }


def test_a_forgotten_record_stays_loses_its_mark_and_is_left_alone(home, zone):
    home.run("dns", "apply", "--yes")
    address = zone.address("*", "A")
    said = home.json("dns", "forget", address)
    assert said == {"forgotten": [f"{address} is left as it is at rfc2136, and AutoGit holds it no more"]}
    assert zone.records() == WILD | APEX
    assert zone.marks() == set(WILD | APEX) - {("*", "A")}
    assert address not in held(home)
    home.set(INGRESS_IP=OTHER_LAN)
    changes = {c["address"]: c["action"] for c in home.json("dns", "plan")["changes"]}
    assert changes == {address: "hold", zone.address("", "A"): "update"}
    twice = home.run("dns", "forget", address, expect=USAGE).stderr
    assert f"AutoGit does not hold {address}" in twice
    assert "which records?" in home.run("dns", "forget", expect=USAGE).stderr
    home.run("dns", "forget", "--all")
    assert zone.marks() == set()
    assert zone.records() == WILD | APEX
    assert "AutoGit holds no records" in home.run("dns", "forget", "--all").stdout


# 4. Split horizon


def test_each_horizon_has_its_own_value(zone, dnsmasq):
    house = DnsmasqZone(dnsmasq.server, zone.name)
    dnsmasq.server.configure("local-ttl=60", f"local=/{zone.name}/")
    dnsmasq.server.restart()
    lan = house.settings(None, provider_key="DNS_LAN_PROVIDER")
    with project(zone, private=False, **{**lan, "INGRESS_IP": WORLD, "INGRESS_LAN_IP": LAN}) as home:
        home.run("dns", "apply", "--yes")
        assert zone.values("api", "A") == [WORLD]
        assert house.values("api", "A") == [LAN]
        assert house.values("", "A") == [LAN]
        home.run("dns", "plan", "--exit-code")
        seen = {(r["seen_by"], r["name"]): r["values"] for r in home.json("dns", "records")["records"]}
        assert seen["public", zone.name] == [WORLD]
        assert seen["lan", zone.name] == [LAN]

        home.set(INGRESS_LAN_IP=OTHER_LAN)
        plan = {c["address"]: c["action"] for c in home.json("dns", "plan")["changes"]}
        assert plan == {f"dns_record/lan/{n}{zone.name}/A": "update" for n in ("*.", "")}
        home.run("dns", "apply", "--yes")
        assert house.values("api", "A") == [OTHER_LAN]
        assert zone.values("api", "A") == [WORLD]

        home.set(DNS_LAN_PROVIDER="none")
        said = home.run("dns", "apply", "--yes")
        assert "kept at dnsmasq, which the settings name no more" in said.stdout + said.stderr
        assert house.values("api", "A") == [OTHER_LAN], "nobody looks after them, and nobody deletes them"
        home.run("dns", "forget", f"dns_record/lan/{zone.name}/A", f"dns_record/lan/*.{zone.name}/A")
        home.run("dns", "plan", "--exit-code")


def test_a_copy_of_a_project_does_not_take_its_records_for_its_own(home, zone):
    home.run("dns", "apply", "--yes")
    home.set(PROJECT_NAME="staging")
    said = home.run("dns", "apply", "--yes", expect=None)
    assert said.returncode != 0
    assert "the lockfile is that of the project autogit, and PROJECT_NAME is staging" in said.stderr
    assert zone.records() == WILD | APEX


def test_purging_takes_records_away_and_says_what_stays(home, zone):
    home.run("dns", "apply", "--yes")
    home.set(DNS_PROVIDER="none")
    said = home.run("down", "--purge", "--confirm", "autogit").stdout
    assert f"dns_record/*.{zone.name}/A stays at rfc2136, which .env names no more" in said
    assert zone.records() == WILD | APEX


# 5. What must not be, and servers that do not help


def test_an_address_of_the_own_network_is_not_shown_to_everybody_unless_asked_for(zone):
    with project(zone, private=False, INGRESS_IP=LAN) as home:
        before, hints = written(home), []
        for words in (("up", "--yes"), ("dns", "apply", "--yes")):
            said = home.run(*words, expect=BLOCKED).stderr
            assert f"{LAN} cannot be published: it is private (RFC 1918)" in said
            assert f"everybody sees the zone {zone.name}: DNS_ALLOW_PRIVATE=true" in said
            hints.append(said.partition("hint: ")[2])
        assert "DNS_ALLOW_PRIVATE" in home.run("dns", "plan").stdout
        assert zone.everything() == {}
        assert written(home) == before
        home.set(DNS_ALLOW_PRIVATE="true")
        home.run("dns", "apply", "--yes")
        assert zone.values("api", "A") == [LAN]
        assert not any("--adopt" in hint for hint in hints), "there is nothing that could be adopted"


def test_a_wrong_secret_is_a_sentence_and_stands_nowhere(home, zone):
    wrong = TsigKey().secret
    file = home.root.parent / "keys" / f"{zone.name}.secret"
    file.write_text(wrong)
    before = written(home)
    outputs = []
    for words in (("up", "--yes"), ("plan", "--out", "p.json"), ("dns", "records", "--format", "json")):
        done = home.run(*words, expect=1)
        assert f"another secret for the key {zone.server.key.name}" in done.stderr
        outputs += [done.stdout, done.stderr]
    assert '"code": "provider-auth"' in outputs[-1]
    assert written(home) == before
    assert zone.everything() == {}
    file.write_text(zone.server.key.secret)
    for words in (("dns", "plan", "-v", "--out", "p.json"), ("dns", "apply", "--yes", "-v")):
        done = home.run(*words)
        outputs += [done.stdout, done.stderr]
    kept = b"\n".join([*written(home).values(), *(text.encode() for text in outputs)])
    assert (home.root / "p.json").read_bytes() in kept
    for secret in (wrong, zone.server.key.secret):
        assert secret.encode() not in kept


def test_a_dead_server_stops_up_and_nothing_that_is_here(tmp_path):
    with bind_server(tmp_path / "bind", {"down.test": []}) as server, contextlib.ExitStack() as stack:
        zone = BindZone(server, "down.test")
        home, stopped = (stack.enter_context(project(zone, **HOME)) for _ in range(2))
        following = stack.enter_context(project(zone, private=False, INGRESS_IP=WORLD))
        (following.root / ".autogit").mkdir()
        server.stop()
        before = written(stopped)
        asked = [stopped.start("up", "--yes"), following.start("dns", "sync")]  # both ask again for a while

        home.run("up", "--yes", "--here-only")
        assert home.probe("api.down.test", "/healthz").status == 200
        assert "all healthy" in home.run("reconcile").stdout
        assert home.json("status")["status"] == "healthy"

        for process in asked:
            _, said = process.communicate(timeout=60)
            assert process.returncode == 1
            assert f"error[unavailable]: rfc2136: {server.server} does not answer" in said
        assert written(stopped) == before
        assert not has_platform(stopped)
        assert heartbeat(following)["result"] == "failed"

        server.start()
        assert zone.everything() == {}
        home.run("up", "--yes")
        assert zone.records() == WILD | APEX


# 6. The address of this network


def test_sync_follows_the_address_when_it_was_seen_twice(zone):
    with sources(WORLD) as said, project(zone, private=False) as home:
        home.set(DNS_ADDRESS_SOURCES=",".join(one.url for one in said))
        put_foreign(zone)

        def look(address):
            for one in said:
                one.address = address
            return home.run("dns", "sync").stdout

        first = home.run("dns", "sync", expect=None)
        if "has no default route" in first.stderr:
            pytest.skip("this host has no default route: then no public address is looked for")
        assert f"public IPv4: {WORLD}" in first.stdout
        assert zone.values("api", "A") == [WORLD]
        assert look(WORLD).splitlines()[-1] == "DNS is as it should be"
        assert f"{WORLD} stays; {OTHER_WORLD} was seen once" in look(OTHER_WORLD)
        assert zone.values("api", "A") == [WORLD]
        assert f"{WORLD} -> {OTHER_WORLD}" in look(OTHER_WORLD)
        assert zone.values("api", "A") == [OTHER_WORLD]
        assert heartbeat(home)["result"] == "ok"

        silent = look(None)
        assert silent.startswith("! public IPv4: ")
        assert f"{OTHER_WORLD} stays" in silent
        assert zone.values("api", "A") == [OTHER_WORLD]
        assert heartbeat(home)["result"] != "ok"
        home.run("dns", "plan", "--exit-code")
        said[0].address = WORLD
        said[1].address = OTHER_WORLD
        assert "the sources disagree" in home.run("dns", "sync").stdout
        assert {key: one for key, one in zone.records().items() if key in FOREIGN} == FOREIGN


def test_sync_never_publishes_what_sources_say_of_a_private_network(zone):
    with sources("10.0.0.7") as said, project(zone, private=False) as home:
        home.set(DNS_ADDRESS_SOURCES=",".join(one.url for one in said))
        done = home.run("dns", "sync", expect=1)
        if "has no default route" in done.stderr:
            pytest.skip("this host has no default route: then no public address is looked for")
        assert "10.0.0.7 cannot be published" in done.stderr
        assert "INGRESS_IP" in done.stderr
        assert zone.everything() == {}


# 7. Killed at any moment


def test_dns_apply_survives_sigkill_at_a_few_random_instants(bind):
    started, midway = converges_after_kills(bind, kills=6, seed=1)
    assert started >= 6
    assert midway, "none of them was hit between two writes"


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_dns_apply_survives_sigkill_at_sixty_random_instants(bind, capsys):
    started, midway = converges_after_kills(bind, kills=60, seed=20261127)
    with capsys.disabled():
        print(
            f"\nSIGKILL of dns apply at 60 random instants: 60 of 60 converged "
            f"({midway} left the zone half done; {started} were started)"
        )
    assert started >= 60


# 8. Records of the user's own


def test_records_of_the_users_own_appear_change_and_go(home, zone):
    overrides = home.root / "overrides"
    overrides.mkdir()
    (overrides / "dns.yml").write_text(DECLARED)
    home.run("dns", "apply", "--yes")
    own = {
        ("mail", "MX"): (3600, ("10 mx1.example.org.", "20 mx2.example.org.")),
        ("_sip._tcp", "SRV"): (300, ("10 60 5060 sip.example.org.",)),
        ("note", "TXT"): (300, ('"second"', '"v=spf1 -all; \\"quoted\\""')),
        ("www", "CNAME"): (300, ("api.example.org.",)),
        ("nas", "AAAA"): (300, ("fd00::20",)),
    }
    assert zone.records() == WILD | APEX | own
    assert zone.marks() == set(WILD | APEX | own)
    home.run("dns", "plan", "--exit-code")
    (overrides / "dns.yml").write_text(DECLARED.replace("10 mx1", "5 mx1").replace("- {name: www", "#"))
    home.run("dns", "apply", "--yes")
    del own["www", "CNAME"]
    own["mail", "MX"] = (3600, ("20 mx2.example.org.", "5 mx1.example.org."))
    assert zone.records() == WILD | APEX | own
    assert zone.marks() == set(WILD | APEX | own)


@pytest.fixture(scope="module")
def declaring(bind):
    """A project for bad files: nothing of it may ever be begun."""
    zone = bind.free.pop(0)
    with project(zone, **HOME) as home:
        (home.root / "overrides").mkdir()
        yield home, zone


def faults_of(home, rows):
    """What `dns apply` says of a file with these rows below a good one; it changes nothing."""
    (home.root / "overrides" / "dns.yml").write_text("\n".join(["records:", GOOD_ROW, *rows]) + "\n")
    before = written(home)
    said = home.run("dns", "apply", "--yes", expect=2).stderr
    assert written(home) == before
    return said


@pytest.mark.parametrize("table", [NO_ROWS, ROWS_THAT_CANNOT_BE], ids=["no rows", "rows that cannot be"])
def test_bad_rows_are_told_all_at_once_each_in_a_sentence_and_change_nothing(declaring, table):
    home, zone = declaring
    said = faults_of(home, table)
    assert f"error[settings]: {len(table)} faults in overrides/dns.yml" in said
    assert len(re.findall(r"^  overrides/dns\.yml ", said, re.MULTILINE)) == len(table)
    for row, sentence in table.items():
        assert sentence in said, row
    assert zone.everything() == {}


@pytest.mark.parametrize("table", [NO_ROWS, ROWS_THAT_CANNOT_BE], ids=["no rows", "rows that cannot be"])
def test_each_fault_of_a_row_names_its_line(declaring, table):
    home, _ = declaring
    said = faults_of(home, table)
    assert [row for line, row in enumerate(table, 3) if f"overrides/dns.yml line {line} " not in said] == []


def test_a_file_that_is_no_yaml_is_a_sentence_with_its_line(declaring):
    home, zone = declaring
    assert re.search(r"overrides/dns\.yml line [34] ", faults_of(home, ["- {name: a, type: A"]))
    assert zone.everything() == {}


def test_a_name_that_is_declared_twice_is_told_as_such(declaring):
    said = faults_of(declaring[0], [GOOD_ROW])
    assert "error[settings]: 1 fault in overrides/dns.yml" in said
    assert "of the platform" not in said, "it is the user's own"


@pytest.mark.parametrize("text", ["hello", "record: []", "records: hello"])
def test_a_file_of_another_form_is_a_sentence(declaring, text):
    home, zone = declaring
    (home.root / "overrides" / "dns.yml").write_text(text + "\n")
    said = home.run("dns", "apply", "--yes", expect=2).stderr
    assert "overrides/dns.yml" in said
    assert "records" in said
    assert zone.everything() == {}
