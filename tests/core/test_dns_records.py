"""The records of a platform: which names, where they lead, and what the user declares beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autogit.core.dns_records import load_declared, wanted_records
from autogit.errors import SettingsError, UnavailableError
from autogit.model.dns import ExtraRecord, Targets, View, address_of, key_of
from autogit.model.resource import Address

PUBLIC = {View.PUBLIC: Targets()}
ENV = "BASE_DOMAIN=home.test\nDNS_PROVIDER=memory\nSERVICES_ENABLED=api\n"


@pytest.fixture
def records(workbench):
    """Return the wished sets of a `.env` text as {address: values}."""

    def build(env="INGRESS_IP=192.0.2.1\n", targets=None, extra=(), facts=None):
        workbench.facts = replace(facts or workbench.facts, dns_targets=PUBLIC if targets is None else targets)
        spec = workbench.spec(ENV + env)
        wanted = wanted_records(
            workbench.settings(ENV + env), workbench.facts.dns_targets, spec.routes, spec.services, extra
        )
        return {str(one.address): one for one in wanted}

    return build


def values(wanted):
    return {address: one.record.values for address, one in wanted.items()}


def test_one_wildcard_and_the_domain_itself(records):
    assert values(records()) == {
        "dns_record/*.home.test/A": ("192.0.2.1",),
        "dns_record/home.test/A": ("192.0.2.1",),
    }


def test_without_a_wildcard_each_service_has_its_own(records):
    assert values(records("INGRESS_IP=192.0.2.1\nDNS_WILDCARD=false\n")) == {
        "dns_record/api.home.test/A": ("192.0.2.1",)
    }


def test_an_ipv6_address_is_a_record_beside(records):
    wanted = values(records("INGRESS_IP=192.0.2.1\nINGRESS_IPV6=2001:DB8::1\n"))
    assert wanted["dns_record/*.home.test/AAAA"] == ("2001:db8::1",)
    assert wanted["dns_record/home.test/A"] == ("192.0.2.1",)


def test_an_ipv6_address_alone(records):
    assert values(records("INGRESS_IP=2001:db8::1\n")) == {
        "dns_record/*.home.test/AAAA": ("2001:db8::1",),
        "dns_record/home.test/AAAA": ("2001:db8::1",),
    }


def test_authorities_are_named_for_the_public_only(records):
    env = "INGRESS_IP=192.0.2.1\nINGRESS_LAN_IP=192.168.1.2\nDNS_CAA=letsencrypt.org,pki.example\n"
    env += "DNS_LAN_PROVIDER=manual\n"
    wanted = values(records(env, {View.PUBLIC: Targets(), View.LAN: Targets()}))
    assert wanted["dns_record/home.test/CAA"] == ('0 issue "letsencrypt.org"', '0 issue "pki.example"')
    assert wanted["dns_record/lan/home.test/A"] == ("192.168.1.2",)
    assert "dns_record/lan/home.test/CAA" not in wanted


def test_what_takes_ssh_has_a_name_that_is_never_proxied(records, workbench):
    ssh = "service: forge\nsummary: A forge\nsubdomain: forge\ninternal_port: 8000\nhealth_endpoint: /\n"
    ssh += "ready_endpoint: /\nports:\n  http: {internal: 8000}\n  ssh: {internal: 22, via_ingress: true}\n"
    ssh += "sizing: {minimal: 0.1C/32M, homelab: 0.1C/32M, team: 0.1C/32M, production: 0.1C/32M}\n"
    ssh += 'runs:\n  embedded:\n    program: python\n    arguments: ["-m", "http.server", "{{ ports.http }}"]\n'
    workbench.add_service("forge", ssh)
    env = "INGRESS_IP=192.0.2.1\nDNS_PROXIED=true\nSERVICES_ENABLED=forge\n".replace("SERVICES_ENABLED=forge\n", "")
    text = ENV.replace("SERVICES_ENABLED=api", "SERVICES_ENABLED=forge")
    workbench.facts = replace(workbench.facts, dns_targets=PUBLIC)
    wanted = {str(one.address): one.record for one in workbench.spec(text + env).records}
    assert not wanted["dns_record/ssh.home.test/A"].proxied
    assert wanted["dns_record/*.home.test/A"].proxied
    without = workbench.spec(text + env + "DNS_SSH_NAME=\n").records
    assert "ssh.home.test" not in {one.record.key.name for one in without}


def test_what_was_detected_is_taken_where_nothing_is_set(records):
    targets = {View.PUBLIC: Targets(v4="198.51.100.7", v6="2001:db8::7")}
    assert values(records("", targets))["dns_record/home.test/A"] == ("198.51.100.7",)
    wanted = values(records("INGRESS_IPV6=auto\n", targets))
    assert wanted["dns_record/home.test/AAAA"] == ("2001:db8::7",)


@pytest.mark.parametrize(
    ("env", "targets", "message", "hint"),
    [
        ("", Targets(problem_v4="the sources disagree"), "the sources disagree", "set INGRESS_IP to it"),
        (
            "INGRESS_IP=192.0.2.1\nINGRESS_IPV6=auto\n",
            Targets(problem_v6="no lasting one"),
            "no lasting one",
            "INGRESS_IPV6",
        ),
    ],
)
def test_a_name_that_would_lead_nowhere_is_an_error_and_no_deletion(records, env, targets, message, hint):
    with pytest.raises(UnavailableError, match=message) as caught:
        records(env, {View.PUBLIC: targets})
    assert hint in caught.value.hint


def test_a_warning_where_names_lead_past_the_ingress(workbench):
    workbench.facts = replace(workbench.facts, dns_targets=PUBLIC)
    spec = workbench.spec(ENV + "INGRESS_IP=192.0.2.1\n")
    assert any("listens on 127.0.0.1 only" in note.message for note in spec.notes)
    spec = workbench.spec(ENV + "INGRESS_IP=192.0.2.1\nBIND_ADDRESS=0.0.0.0\n")
    assert not any(note.subject == "dns" for note in spec.notes)


def test_addresses_of_both_views_read_back():
    for text in ("dns_record/*.home.test/A", "dns_record/lan/home.test/TXT"):
        view, key = key_of(Address.parse(text))
        assert str(address_of(view, key)) == text
    for text in ("dns_record/home.test", "file/home.test/A", "dns_record/wan/home.test/A"):
        with pytest.raises(ValueError, match="not the address of a DNS record"):
            key_of(Address.parse(text))


class TestDeclared:
    def test_they_are_below_the_domain_unless_they_end_with_a_dot(self, records):
        extra = [
            ExtraRecord("mail", "MX", ("10 MX.example.NET.",)),
            ExtraRecord("@", "TXT", ("v=spf1 -all",), ttl=60),
            ExtraRecord("_sip._tcp", "SRV", ("0 5 5060 sip.example.net.",)),
            ExtraRecord("www.other.test.", "CNAME", ("home.test.",)),
        ]
        wanted = records(extra=extra)
        assert wanted["dns_record/mail.home.test/MX"].record.values == ("10 mx.example.net",)
        assert wanted["dns_record/home.test/TXT"].record.ttl == 60
        assert wanted["dns_record/_sip._tcp.home.test/SRV"].record.values == ("0 5 5060 sip.example.net",)
        assert wanted["dns_record/www.other.test/CNAME"].record.values == ("home.test",)

    def test_one_that_hides_a_service_from_the_wildcard_gets_the_service_its_own(self, records):
        """RFC 4592: what is at or below a name takes the wildcard's answer away from it."""
        wanted = values(records(extra=[ExtraRecord("note.api", "TXT", ("x",))]))
        assert wanted["dns_record/api.home.test/A"] == ("192.0.2.1",)
        assert "dns_record/api.home.test/A" not in values(records(extra=[ExtraRecord("note", "TXT", ("x",))]))

    def test_each_stands_in_the_views_that_it_names(self, records):
        env = "INGRESS_IP=192.0.2.1\nINGRESS_LAN_IP=192.168.1.2\nDNS_LAN_PROVIDER=manual\n"
        both = {View.PUBLIC: Targets(), View.LAN: Targets()}
        wanted = records(env, both, [ExtraRecord("nas", "A", ("192.168.1.9",), (View.LAN,))])
        assert "dns_record/lan/nas.home.test/A" in wanted
        assert "dns_record/nas.home.test/A" not in wanted

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            (ExtraRecord("@", "A", ("192.0.2.9",)), "is there already: it is a record of the platform"),
            (ExtraRecord("@", "CNAME", ("example.net.",)), "a CNAME stands alone"),
            (ExtraRecord("_acme-challenge", "TXT", ("x",)), "is an ACME challenge"),
            (ExtraRecord("_acme-challenge.git", "CNAME", ("x.example.net.",)), "is an ACME challenge"),
            (ExtraRecord("_autogit-a.x", "TXT", ("x",)), "is a mark"),
            (ExtraRecord("@", "MX", ("10 mx.example.net.",)), "keep that record by hand"),
            (ExtraRecord("x", "A", ("192.0.2.300",)), "is no IP address"),
            (ExtraRecord("x", "A", ("2001:db8::1",)), "is an address of the other version"),
            (ExtraRecord("x", "MX", ("mx.example.net.",)), "is no value of type MX"),
            (ExtraRecord("x", "CAA", ("0 issue",)), "is no value of type CAA"),
            (ExtraRecord("x", "TXT", ("a",), proxied=True), "cannot be proxied"),
            (ExtraRecord("x", "TXT", ("a" * 5000,)), "has a value of more than 4000 characters"),
            (ExtraRecord("x", "CNAME", ("a.example.net.", "b.example.net.")), "a CNAME has one value"),
            (ExtraRecord("_wildcard.apps", "A", ("192.0.2.9",)), "which stands for * in the names of marks"),
            (ExtraRecord("a..b", "A", ("192.0.2.1",)), "is not a DNS name"),
        ],
    )
    def test_what_cannot_be_is_said_with_its_place(self, records, extra, message):
        with pytest.raises(SettingsError) as caught:
            records(extra=[extra])
        [fault] = caught.value.faults
        assert fault.place == "overrides/dns.yml"
        assert message in fault.message


class TestFile:
    def load(self, tmp_path, text):
        path = tmp_path / "dns.yml"
        path.write_text(text)
        return load_declared(path)

    def test_no_file_declares_nothing(self, tmp_path):
        assert load_declared(tmp_path / "dns.yml") == ()

    def test_a_file_is_read(self, tmp_path):
        text = "records:\n- {name: mail, type: mx, values: ['10 mx.example.net.'], ttl: 3600, view: public}\n"
        [one] = self.load(tmp_path, text)
        assert one == ExtraRecord("mail", "MX", ("10 mx.example.net.",), (View.PUBLIC,), 3600)

    @pytest.mark.parametrize(
        ("text", "place", "message"),
        [
            ("records:\n- {name: x, type: A}\n", "line 2", "is missing"),
            ("records:\n- {name: x, type: A, values: []}\n", "line 2", "at least 1 item"),
            ("records:\n- {name: x, type: NS, values: [ns.example.net.]}\n", "line 2", "must be one of A, AAAA"),
            ("records:\n- {name: x, type: A, values: [192.0.2.1], tll: 5}\n", "line 2", "is not a field"),
            ("records:\n- name: x\n  type: A\n  values: [192.0.2.1]\n  ttl: 0\n", "line 5", "greater than or equal"),
            ("records:\n- {name: x, type: A, values: [192.0.2.1], view: wan}\n", "line 2", "should match"),
            ("records: {}\n", "", "must be a list"),
            ("record: []\n", "", "must have one key, records"),
            ("records: [\n", "line", "broken YAML"),
            ("", "line 1", "the file is empty"),
        ],
    )
    def test_a_bad_file_is_told_with_file_and_line(self, tmp_path, text, place, message):
        with pytest.raises(SettingsError) as caught:
            self.load(tmp_path, text)
        [fault] = caught.value.faults
        assert fault.place.startswith("overrides/dns.yml")
        assert place in fault.place
        assert message in fault.message
