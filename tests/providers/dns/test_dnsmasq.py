"""The provider that keeps records in files of a dnsmasq, against the real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from dataclasses import replace

import dns.rcode
import pytest
from pydantic import ValidationError

from autogit.errors import (
    MissingError,
    ProviderAuthError,
    RejectedError,
    StalePlanError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import Zone, record_set
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.dnsmasq import DnsmasqConfig, DnsmasqDNS
from autogit.testing.dns import DNSProviderContract
from tests.providers.dns.dnsmasq_server import dnsmasq_server

pytestmark = pytest.mark.integration

HOME = Zone("home.test", "home.test", private=True)


@pytest.fixture
def server(tmp_path):
    with dnsmasq_server(tmp_path / "dnsmasq", "local-ttl=300") as running:
        yield running


@pytest.fixture
def made(server, tmp_path, monkeypatch):
    """A function that makes a provider of that server, other settings in place of the usual ones."""
    folder = os.path.dirname(server.program)
    monkeypatch.setenv("PATH", os.pathsep.join([folder, os.environ["PATH"]]))  # for `dnsmasq --test`

    def make(**settings):
        usual = {
            "zones": "home.test, sub.home.test",
            "conf_dir": server.conf_dir,
            "hosts_dir": server.hosts_dir,
            "restart_command": server.restart_command,
            "test_config": server.config,
            "server": server.server,
            "ttl": 300,
        }
        context = ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env"))
        return DnsmasqDNS(context, DnsmasqConfig(**usual | settings))

    return make


@pytest.fixture
def provider(made):
    return made()


class TestDnsmasq(DNSProviderContract):
    @pytest.fixture
    def provider(self, made):
        return made()

    @pytest.fixture
    def zone(self):
        return HOME


def run(work):
    return asyncio.run(work)


def a(name, *values):
    return record_set(name, "A", 300, values)


def txt(name, *values):
    return record_set(name, "TXT", 300, values)


def there(provider, zone=HOME):
    return {str(one.key): one.values for one in run(provider.list_records(zone))}


def files(server):
    """Everything in both folders but the lock, which is empty."""
    paths = [path for folder in (server.conf_dir, server.hosts_dir) for path in folder.iterdir()]
    return {path.name: path.read_bytes() for path in paths if path.suffix != ".lock"}


# What dnsmasq answers


def test_a_wildcard_answers_below_and_leaves_the_apex_alone(provider, server):
    run(provider.ensure_wildcard("home.test", "192.0.2.1", 300))
    assert server.values("git.home.test", "A") == ["192.0.2.1"]
    assert server.values("a.b.home.test", "A") == ["192.0.2.1"]
    assert server.values("home.test", "A") == []
    run(provider.create_record(HOME, a("home.test", "192.0.2.9")))
    assert server.values("home.test", "A") == ["192.0.2.9"]
    assert server.values("git.home.test", "A") == ["192.0.2.1"]


def test_the_other_types_of_a_name_below_a_wildcard_are_empty_and_not_refused(provider, server):
    """A denied or refused AAAA has some resolvers drop the A that is there."""
    run(provider.ensure_wildcard("home.test", "192.0.2.1", 300))
    for kind in ("AAAA", "TXT", "MX"):
        answer = server.ask("git.home.test", kind)
        assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])


def test_a_zone_that_is_not_asked_for_elsewhere_denies_only_what_is_not_there(provider, server):
    """The main configuration that the page for users shows."""
    server.configure("local=/home.test/", "local=/autogit.invalid/", "local-ttl=300")
    server.restart()
    run(provider.create_record(HOME, a("git.home.test", "192.0.2.3")))
    assert server.values("git.home.test", "A") == ["192.0.2.3"]
    assert server.ask("git.home.test", "AAAA").rcode() == dns.rcode.NOERROR
    assert server.ask("none.home.test", "A").rcode() == dns.rcode.NXDOMAIN
    run(provider.ensure_wildcard("home.test", "192.0.2.1", 300))
    assert server.values("none.home.test", "A") == ["192.0.2.1"]
    assert server.values("git.home.test", "A") == ["192.0.2.3"]


def test_a_wildcard_has_both_families_and_several_addresses(provider, server):
    run(provider.create_record(HOME, a("*.home.test", "192.0.2.1", "192.0.2.2")))
    run(provider.create_record(HOME, record_set("*.home.test", "AAAA", 300, ["2001:db8::1"])))
    assert server.values("git.home.test", "A") == ["192.0.2.1", "192.0.2.2"]
    assert server.values("git.home.test", "AAAA") == ["2001:db8::1"]
    run(provider.delete_record(HOME, a("*.home.test", "192.0.2.1", "192.0.2.2")))
    assert server.values("git.home.test", "A") == []
    assert server.values("git.home.test", "AAAA") == ["2001:db8::1"]


def test_what_is_nearer_wins(provider, server):
    """An exact name over a wildcard, a wildcard further down over one above; a text is beside both."""
    run(provider.create_record(HOME, a("*.home.test", "192.0.2.1")))
    run(provider.create_record(HOME, a("*.apps.home.test", "192.0.2.2")))
    run(provider.create_record(HOME, a("git.home.test", "192.0.2.3")))
    run(provider.create_record(HOME, txt("_acme-challenge.git.home.test", "token")))
    assert server.values("x.home.test", "A") == ["192.0.2.1"]
    assert server.values("x.apps.home.test", "A") == ["192.0.2.2"]
    assert server.values("git.home.test", "A") == ["192.0.2.3"]
    assert server.values("_acme-challenge.git.home.test", "TXT") == ['"token"']


def test_a_name_of_another_type_only_gets_the_addresses_of_a_wildcard(provider, server):
    """Other than RFC 4592 has it; the page for users says so."""
    run(provider.create_record(HOME, a("*.home.test", "192.0.2.1")))
    run(provider.create_record(HOME, record_set("six.home.test", "AAAA", 300, ["2001:db8::1"])))
    assert server.values("six.home.test", "A") == ["192.0.2.1"]


def test_values_are_answered_as_they_were_wished_for(provider, server):
    sets = [txt("odd.home.test", 'say "hi"; a\\b, c # d'), txt("empty.home.test", ""), txt("wide.home.test", "ü" * 200)]
    caa = record_set("home.test", "CAA", 300, ['0 issue "ca.example; validationmethods=dns-01"', '128 iodef "x@y"'])
    for one in [*sets, caa]:
        run(provider.create_record(HOME, one))
        assert run(provider.find_record(HOME, one.key)).values == one.values
    assert server.values("odd.home.test", "TXT") == ['"say \\"hi\\"; a\\\\b, c # d"']
    assert server.values("home.test", "CAA") == sorted(caa.values)


def test_an_exact_name_takes_no_restart(provider, server):
    before = server.restarts
    run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))
    run(provider.update_record(HOME, a("git.home.test", "192.0.2.1"), a("git.home.test", "192.0.2.2")))
    assert server.values("git.home.test", "A") == ["192.0.2.2"]
    run(provider.delete_record(HOME, a("git.home.test", "192.0.2.2")))
    assert server.values("git.home.test", "A") == []
    assert server.restarts == before
    run(provider.create_record(HOME, txt("git.home.test", "x")))
    assert server.restarts == before + 1


def test_what_is_as_wished_is_not_written_again(provider, server):
    for one in (a("git.home.test", "192.0.2.1"), a("*.home.test", "192.0.2.1")):
        run(provider.create_record(HOME, one))
    before = (server.restarts, [path.stat().st_mtime_ns for path in sorted(server.hosts_dir.iterdir())])
    for one in (a("git.home.test", "192.0.2.1"), a("*.home.test", "192.0.2.1")):
        run(provider.create_record(HOME, one))
        run(provider.update_record(HOME, one, one))
    assert (server.restarts, [path.stat().st_mtime_ns for path in sorted(server.hosts_dir.iterdir())]) == before


def test_the_same_records_are_the_same_files_whatever_came_first(provider, server):
    sets = [
        a("b.home.test", "192.0.2.1"),
        a("a.home.test", "192.0.2.2"),
        txt("t.home.test", "2", "1"),
        txt("s.home.test", ""),
    ]
    for one in sets:
        run(provider.create_record(HOME, one))
    once = files(server)
    for one in sets:
        run(provider.delete_record(HOME, one))
    for one in reversed(sets):
        run(provider.create_record(HOME, one))
    assert files(server) == once


def test_any_wished_ttl_is_the_one_that_there_is(provider):
    run(provider.create_record(HOME, replace(a("git.home.test", "192.0.2.1"), ttl=60)))
    assert run(provider.find_record(HOME, a("git.home.test").key)).ttl == 300
    assert (provider.capabilities.least_ttl, provider.capabilities.most_ttl) == (300, 300)


def test_a_mark_is_kept_and_changed_without_a_restart(provider, server):
    for one in (a("git.home.test", "192.0.2.1"), txt("note.home.test", "# mark note.home.test/TXT no")):
        run(provider.create_record(HOME, replace(one, mark="heritage=autogit, owner=1")))
        assert run(provider.find_record(HOME, one.key)).mark == "heritage=autogit, owner=1"
        before = server.restarts
        run(provider.update_record(HOME, one, replace(one, mark="owner=2")))
        assert run(provider.find_record(HOME, one.key)).mark == "owner=2"
        assert server.restarts == before


def test_a_name_is_in_the_nearest_zone_only(provider):
    sub = Zone("sub.home.test", "sub.home.test", private=True)
    run(provider.create_record(sub, a("git.sub.home.test", "192.0.2.1")))
    assert there(provider, sub) == {"git.sub.home.test/A": ("192.0.2.1",)}
    assert there(provider) == {}
    with pytest.raises(RejectedError, match="not in the zone"):
        run(provider.create_record(HOME, a("x.sub.home.test", "192.0.2.1")))


# What others wrote

CAA = record_set("home.test", "CAA", 300, ['0 issue "x"'])
FOREIGN = {
    "a name and all below": ("x.conf", "address=/home.test/192.0.2.50", a("home.test", "192.0.2.50")),
    "what is below it": ("x.conf", "address=/home.test/192.0.2.50", a("*.home.test", "192.0.2.50")),
    "several names": ("x.conf", "address = /.a.test/*.home.test/192.0.2.50 # x", a("*.home.test", "192.0.2.50")),
    "null addresses": ("x.conf", "address=/git.home.test/#", a("git.home.test", "0.0.0.0")),
    "a host": ("x.conf", "host-record=git,Git.home.test,192.0.2.50,2001:db8::5,60", a("git.home.test", "192.0.2.50")),
    "a text": ("x.conf", 'txt-record=git.home.test,"a, b",c', txt("git.home.test", "a, bc")),
    "bytes": ("x.conf", "dns-rr=home.test,257,00:05:69:73:73:75:65:78", CAA),
    "a hosts file": ("lan", "192.0.2.50 git.home.test git # x", a("git.home.test", "192.0.2.50")),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_others_wrote_is_shown_and_never_changed(provider, server, case):
    name, line, shown = FOREIGN[case]
    path = (server.conf_dir if name.endswith(".conf") else server.hosts_dir) / name
    path.write_text(f"{line}\n")
    server.restart()
    assert run(provider.find_record(HOME, shown.key)).values == shown.values
    other = replace(shown, values={"A": ("192.0.2.1",), "TXT": ("x",), "CAA": ('0 issue "y"',)}[shown.key.type])
    with pytest.raises(StalePlanError, match="was something else"):
        run(provider.create_record(HOME, other))
    with pytest.raises(RejectedError, match=f"{path}, which AutoGit does not change"):
        run(provider.update_record(HOME, shown, other))
    with pytest.raises(RejectedError, match="does not change"):
        run(provider.delete_record(HOME, shown))
    run(provider.create_record(HOME, shown))
    assert files(server) == {name: f"{line}\n".encode()}


def test_lines_of_the_main_configuration_are_others_too(provider, server):
    server.configure("local-ttl=300", "address=/git.home.test/192.0.2.50")
    server.restart()
    with pytest.raises(StalePlanError, match=r"192\.0\.2\.50"):
        run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))


@pytest.mark.parametrize("name", [".x.conf", "x.conf.bak", "x.txt"])
def test_what_dnsmasq_does_not_read_is_not_there(provider, server, name):
    (server.conf_dir / name).write_text("host-record=git.home.test,192.0.2.50\n")
    for leftover in (".lan", "lan~", "#lan#"):
        (server.hosts_dir / leftover).write_text("192.0.2.50 git.home.test\n")
    server.restart()
    assert server.values("git.home.test", "A") == []
    assert there(provider) == {}


def test_lines_that_say_nothing_of_a_zone_are_passed_over(provider, server):
    lines = [
        "no-negcache",
        "address=/#/192.0.2.50",
        "address=/*est/192.0.2.51",
        "address=/home.test/",
        "cname=a.test,b.test",
    ]
    lines += ["txt-record=git.elsewhere.test", "# address=/git.home.test/192.0.2.1", "dns-rr=x.home.test,99,00", ""]
    (server.conf_dir / "x.conf").write_text("\n".join(lines))
    (server.hosts_dir / "lan").write_bytes(b"\xff\xfe\n192.0.2.1\nnot-an-address git.home.test\n::1 localhost\n")
    assert there(provider) == {}


def test_a_name_that_is_an_alias_gets_no_addresses(provider, server):
    (server.conf_dir / "x.conf").write_text("cname=git.home.test,www.home.test,Pages.example.net,60\n")
    server.restart()
    assert there(provider) == {f"{name}.home.test/CNAME": ("pages.example.net",) for name in ("git", "www")}
    with pytest.raises(RejectedError, match="CNAME stands alone"):
        run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))


@pytest.mark.parametrize("one", [a("git.home.test", "192.0.2.1"), txt("git.home.test", "x")], ids=["hosts", "conf"])
def test_a_file_of_our_name_that_is_not_ours_is_not_written_over(provider, server, one):
    for path in (server.conf_dir / "autogit-records.conf", server.hosts_dir / "autogit-records"):
        path.write_text("# mine\n")
    before = files(server)
    with pytest.raises(RejectedError, match="is not AutoGit's"):
        run(provider.create_record(HOME, one))
    assert files(server) == before


def test_two_at_once_lose_nothing(made, server):
    """Each with locks of its own, as two processes have."""

    async def work():
        await asyncio.gather(
            *(made().create_record(HOME, a(f"n{number}.home.test", "192.0.2.1")) for number in range(12)),
            *(made().create_record(HOME, txt(f"t{number}.home.test", "x")) for number in range(4)),
        )

    run(work())
    assert len(there(made())) == 16
    assert server.values("t3.home.test", "TXT") == ['"x"']


# What goes wrong


def stumbling(server, count):
    """A restart command that fails the first times and leaves dnsmasq as it is."""
    path = server.folder / "stumbling"
    path.write_text(
        f"echo x >> {server.folder}/tried\n"
        f"[ $(wc -l < {server.folder}/tried) -gt {count} ] || {{ echo 'Unit is masked.' >&2; exit 1; }}\n"
        f"exec {server.restart_command}\n"
    )
    return f"/bin/sh {path}"


def test_a_failed_restart_leaves_the_former_state_in_force(made, server):
    run(made().create_record(HOME, a("*.home.test", "192.0.2.1")))
    before = files(server)
    provider = made(restart_command=stumbling(server, 1))
    with pytest.raises(RejectedError, match=r"^dnsmasq: DNSMASQ_RESTART_COMMAND failed: Unit is masked\.$"):
        run(provider.update_record(HOME, a("*.home.test", "192.0.2.1"), a("*.home.test", "192.0.2.2")))
    assert files(server) == before
    assert server.values("git.home.test", "A") == ["192.0.2.1"]
    assert there(provider) == {"*.home.test/A": ("192.0.2.1",)}


def test_a_first_write_that_fails_leaves_no_file(made, server):
    provider = made(restart_command=stumbling(server, 9))
    with pytest.raises(RejectedError, match="nor with the former file"):
        run(provider.create_record(HOME, a("*.home.test", "192.0.2.1")))
    assert files(server) == {}


def test_a_restart_command_that_is_not_there_is_said(made, server):
    with pytest.raises(RejectedError, match="cannot be run: No such file"):
        run(made(restart_command="/no/such restart").create_record(HOME, txt("git.home.test", "x")))
    assert files(server) == {}


def test_a_restart_command_knows_no_shell(made, server, tmp_path):
    provider = made(restart_command=f"/bin/echo x ; touch {tmp_path}/proof")
    provider.settle_seconds = 0.2
    with pytest.raises(RejectedError, match="does not read"):
        run(provider.create_record(HOME, txt("git.home.test", "x")))
    assert not (tmp_path / "proof").exists()
    assert files(server) == {}


def test_a_main_configuration_with_a_fault_is_found_before_the_restart(provider, server):
    """A restart would leave everybody without DNS."""
    before = server.restarts
    server.config.write_text(server.config.read_text() + "bogus-option\n")
    with pytest.raises(RejectedError, match=r"dnsmasq --test failed: dnsmasq: bad option at line \d+ of .*main\.conf"):
        run(provider.create_record(HOME, a("*.home.test", "192.0.2.1")))
    assert (server.restarts, files(server)) == (before, {})
    run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))


@pytest.mark.parametrize(
    ("one", "option"), [(a("git.home.test", "192.0.2.1"), "hostsdir="), (txt("git.home.test", "x"), "conf-dir=")]
)
def test_a_folder_that_dnsmasq_does_not_read_is_said(provider, server, one, option):
    server.configure("local-ttl=300", folders=False)
    server.restart()
    provider.settle_seconds = 0.2
    with pytest.raises(RejectedError, match="does not read") as caught:
        run(provider.create_record(HOME, one))
    assert option in caught.value.hint
    assert files(server) == {}


def test_a_source_that_autogit_does_not_read_is_noticed_by_asking(provider, server, tmp_path):
    (tmp_path / "more").write_text("192.0.2.50 git.home.test\n")
    server.configure("local-ttl=300", f"addn-hosts={tmp_path}/more")
    server.restart()
    with pytest.raises(RejectedError, match=r"answered with 192\.0\.2\.1, 192\.0\.2\.50"):
        run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))
    assert files(server) == {}


def test_a_ttl_that_is_not_as_configured_is_said(made, server):
    with pytest.raises(RejectedError, match="TTL of 300 seconds, and DNSMASQ_TTL is 60") as caught:
        run(made(ttl=60).create_record(HOME, a("git.home.test", "192.0.2.1")))
    assert "local-ttl=60" in caught.value.hint
    assert files(server) == {}


def test_a_dnsmasq_that_does_not_run_is_unavailable(provider, server):
    run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))
    before = files(server)
    server.stop()
    provider.settle_seconds = 0.2
    with pytest.raises(UnavailableError, match="does not answer"):
        run(provider.create_record(HOME, a("two.home.test", "192.0.2.1")))
    assert files(server) == before
    assert not run(provider.health()).ok


def restart_without(server, path):
    """Start dnsmasq as if a file were not there yet: what a stop between writing and restarting leaves."""
    content = path.read_bytes()
    path.unlink()
    server.restart()
    path.write_bytes(content)


def test_lines_that_dnsmasq_has_not_read_yet_are_not_there_and_are_mended(provider, server):
    run(provider.create_record(HOME, a("*.home.test", "192.0.2.1")))
    restart_without(server, server.conf_dir / "autogit-records.conf")
    assert server.values("git.home.test", "A") == []
    assert there(provider) == {}
    run(provider.create_record(HOME, a("*.home.test", "192.0.2.1")))
    assert server.values("git.home.test", "A") == ["192.0.2.1"]
    assert there(provider) == {"*.home.test/A": ("192.0.2.1",)}


def test_lines_that_dnsmasq_has_not_read_yet_are_deleted_all_the_same(provider, server):
    run(provider.create_record(HOME, a("*.home.test", "192.0.2.1")))
    restart_without(server, server.conf_dir / "autogit-records.conf")
    run(provider.delete_record(HOME, a("*.home.test", "192.0.2.1")))
    server.restart()
    assert server.values("git.home.test", "A") == []


@pytest.mark.parametrize(
    "one",
    [
        record_set("git.home.test", "CNAME", 300, ["pages.example.net"]),
        record_set("git.home.test", "MX", 300, ["10 mail.example.net"]),
        txt("*.home.test", "x"),
        replace(a("git.home.test", "192.0.2.1"), proxied=True),
        txt("git.home.test", "x" * 1000),
        txt("git.home.test", "two\nlines"),
        replace(a("git.home.test", "192.0.2.1"), mark="two\nlines"),
    ],
    ids=["alias", "mail", "wild text", "proxied", "long", "control", "mark"],
)
def test_what_it_cannot_hold_is_said_and_not_written(provider, server, one):
    with pytest.raises(UnsupportedError, match=f"^dnsmasq: {re.escape(str(one.key))}"):
        run(provider.create_record(HOME, one))
    assert files(server) == {}


@pytest.mark.parametrize(
    "one",
    [
        a("git.home.test", "192.0.2.1\n192.0.2.66 bank.example"),
        a("*.home.test", "192.0.2.1/"),
        a("git.home.test", "2001:db8::1"),
        record_set("git.home.test", "AAAA", 300, ["fe80::1%eth0"]),
        record_set("git.home.test", "CAA", 300, ["issue"]),
    ],
)
def test_values_that_are_none_are_rejected_and_not_written(provider, server, one):
    with pytest.raises(RejectedError):
        run(provider.create_record(HOME, one))
    assert files(server) == {}


def test_a_text_as_long_as_it_may_be_is_held(provider, server):
    one = txt("git.home.test", "x" * 950)
    run(provider.create_record(HOME, one))
    assert run(provider.find_record(HOME, one.key)) == one
    assert sum(len(string) for string in server.ask("git.home.test", "TXT").answer[0][0].strings) == 950


def test_without_a_way_to_restart_it_holds_exact_addresses_only(made, server):
    provider = made(restart_command="")
    assert provider.capabilities.types == {"A", "AAAA"}
    run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))
    with pytest.raises(UnsupportedError, match="takes a restart") as caught:
        run(provider.ensure_wildcard("home.test", "192.0.2.1", 300))
    assert "DNSMASQ_RESTART_COMMAND" in caught.value.hint
    run(made().create_record(HOME, txt("git.home.test", "x")))
    with pytest.raises(UnsupportedError, match="takes a restart"):
        run(provider.delete_record(HOME, txt("git.home.test", "x")))
    assert server.values("git.home.test", "TXT") == ['"x"']


def test_a_zone_that_is_not_configured_is_missing(provider):
    with pytest.raises(MissingError, match="DNSMASQ_ZONES"):
        run(provider.list_records(Zone("other.test", "other.test", private=True)))


def test_a_folder_that_is_not_there_is_missing_and_not_made(made, server, tmp_path):
    provider = made(hosts_dir=tmp_path / "none")
    with pytest.raises(MissingError, match="there is no folder"):
        run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))
    health = run(provider.health())
    assert (health.ok, health.fix) == (False, "DNSMASQ_HOSTS_DIR says which")
    assert not (tmp_path / "none").exists()


@contextlib.contextmanager
def as_somebody_else(folder):
    """Work without the right to write: root has every right, and becomes nobody for a while."""
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.parametrize("folder", ["conf_dir", "hosts_dir"])
def test_a_folder_that_may_not_be_written_to_is_a_matter_of_rights(made, server, folder):
    provider = made()
    with as_somebody_else(getattr(server, folder)):
        with pytest.raises(ProviderAuthError, match="^dnsmasq: .* cannot be used"):
            run(provider.create_record(HOME, a("git.home.test", "192.0.2.1")))
        assert not run(provider.health()).ok
    assert files(server) == {}


def test_settings_are_text_and_wrong_ones_are_refused(made):
    assert [zone.name for zone in run(made(zones="Home.test., home.test").list_zones())] == ["home.test"]
    for wrong in ({"server": "127.0.0.1:dns"}, {"ttl": -1}, {"unknown": "x"}, {"restart_command": "a 'b"}):
        with pytest.raises(ValidationError):
            made(**wrong)
