"""Looking for addresses: interfaces as Linux shows them, and sources on loopback that agree, lie, hang or talk on."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import dns.message
import dns.rrset
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autogit.errors import RejectedError, UsageError
from autogit.model.addresses import AddressSource, InterfaceAddress
from autogit.providers.host.addresses import (
    DEFAULT_SOURCES,
    Host,
    addresses_of,
    ask_source,
    look,
    parse_if_inet6,
    source_towards,
    sources_of,
)

ONE, TWO = "8.8.8.8", "9.9.9.9"
PATIENCE_SECONDS = 20.0
"""More than anything here takes; where a source shall be too slow, it never answers, and is waited for SHORTLY."""
SHORTLY = 0.2
LONG_ENOUGH = 2.0
"""For those that hang beside others that do answer, on a machine that has other things to do."""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000021122fffe334455 02 40 20 80     eth0
24000001000000000000000000000005 02 40 00 00     eth0
2400000100000000aaaaaaaaaaaaaaaa 02 40 00 01     eth0
2400000100000000bbbbbbbbbbbbbbbb 02 40 00 21     eth0
24000009000000000000000000000005 02 40 00 20     eth0
24000001000000000000000000000006 02 40 00 40     eth0
24000001000000000000000000000007 02 40 00 48     eth0
fd000000000000000000000000000002 02 40 00 80    wlan0
"""


class Home(Host):
    """A host of a homelab."""

    def __init__(self, *addresses, sources=None):
        self._addresses = addresses or (
            InterfaceAddress("docker0", "172.17.0.1"),
            InterfaceAddress("eth0", "192.168.1.5"),
            *parse_if_inet6(IF_INET6),
        )
        self._sources = sources or {"v4": "192.168.1.5", "v6": "2400:1::aaaa:aaaa:aaaa:aaaa"}

    def addresses(self):
        return self._addresses

    def source(self, family):
        return self._sources.get(family, "")


def reply(body, *fields, status="200 OK"):
    """What a web server sends."""
    data = body.encode() if isinstance(body, str) else body
    head = "".join(f"{field}\r\n" for field in (f"Content-Length: {len(data)}", *fields))
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + data


@contextlib.asynccontextmanager
async def listening(talk, host="127.0.0.1", context=None):
    """A server that talks to whoever comes, on a port that is given; at the end everybody must have gone."""
    talking = set()

    async def answer(reader, writer):
        talking.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, host, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*talking), PATIENCE_SECONDS)


class Server:
    """A web server that says one thing, or nothing at all (None), and remembers what it was asked."""

    def __init__(self, said):
        self.said = said
        self.asked = []
        self.text = ""

    async def talk(self, reader, writer):
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if self.said is None:
            await reader.read()  # until the other side has had enough
        else:
            writer.write(self.said)
            await writer.drain()


@contextlib.asynccontextmanager
async def serving(*replies, host="127.0.0.1", context=None):
    """Servers of replies, each at a port of its own."""
    servers = [Server(one) for one in replies]
    async with contextlib.AsyncExitStack() as stack:
        for server in servers:
            port = await stack.enter_async_context(listening(server.talk, host, context))
            server.text = f"{'https' if context else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/ip"
        yield servers


def asked_of(talk, scheme="http", timeout_seconds=PATIENCE_SECONDS):
    """What a source is taken to say that talks in a way of its own."""

    async def run():
        async with listening(talk) as port:
            return await ask_source(AddressSource(scheme, "127.0.0.1", port, "/"), "v4", timeout_seconds)

    return asyncio.run(run())


def looked(*replies, field="public_v4", host="127.0.0.1", timeout_seconds=PATIENCE_SECONDS, home=None):
    """What is found where sources say this; those that are None never answer."""

    async def run():
        async with serving(*replies, host=host) as servers:
            sources = sources_of([server.text for server in servers])
            return await look({field}, sources, timeout_seconds=timeout_seconds, host=home or Home())

    return asyncio.run(run())


def said(answer, timeout_seconds=PATIENCE_SECONDS, family="v4"):
    """What one source is taken to say."""

    async def run():
        async with serving(answer) as (server,):
            (source,) = sources_of([server.text])
            return await ask_source(source, family, timeout_seconds), server

    return asyncio.run(run())[0]


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as link:
        link.bind(("127.0.0.1", 0))
        return link.getsockname()[1]


def test_what_linux_says_of_ipv6_addresses_is_understood():
    found = {one.address: one for one in parse_if_inet6(IF_INET6)}
    assert found["2400:1::5"] == InterfaceAddress("eth0", "2400:1::5")
    assert found["fd00::2"] == InterfaceAddress("wlan0", "fd00::2", fixed=True)
    assert found["2400:1::aaaa:aaaa:aaaa:aaaa"].temporary
    assert {one.address for one in found.values() if not one.usable} == {
        "2400:1::bbbb:bbbb:bbbb:bbbb",
        "2400:9::5",
        "2400:1::6",
        "2400:1::7",
    }
    assert [one.address for one in found.values() if one.stable] == [
        "::1",
        "fe80::211:22ff:fe33:4455",
        "2400:1::5",
        "fd00::2",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "2400",
        "zz00000100000000000000000000005 02 40 00 00 eth0",
        "24 02 40 00 00 eth0",
        "0" * 32 + " 1 40 00 00",
    ],
)
def test_what_is_no_line_of_it_is_left_out(line):
    assert parse_if_inet6(f"{line}\n{IF_INET6}") == parse_if_inet6(IF_INET6)


@pytest.mark.integration
def test_this_host_shows_its_loopback_addresses():
    shown = {one.address: one.interface for one in Host().addresses()}
    assert shown.get("127.0.0.1", "").startswith("lo")


@pytest.mark.integration
def test_what_linux_says_of_this_hosts_ipv6_addresses_is_heeded(tmp_path):
    listed = tmp_path / "if_inet6"
    listed.write_text("0" * 31 + "1 01 80 10 81 lo\n")
    heeded = {one.address: one.stable for one in Host(listed).addresses()}
    assert heeded.get("::1") in {False, None}, "None: this host has no IPv6"
    assert heeded["127.0.0.1"]
    unsaid = Host(tmp_path / "absent").addresses()
    assert unsaid
    assert all(one.stable for one in unsaid)


def test_a_sandbox_that_hides_interfaces_leaves_the_source(monkeypatch):
    def forbidden():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("psutil.net_if_addrs", forbidden)
    host = Host()
    monkeypatch.setattr(host, "source", lambda _family: "192.168.1.5")
    assert asyncio.run(look({"lan_v4"}, host=host)).lan_v4 == "192.168.1.5"


@pytest.mark.integration
def test_the_source_towards_an_address_is_the_kernels():
    assert source_towards("127.0.0.1") == "127.0.0.1"
    assert source_towards("::1") in {"::1", ""}


def test_only_what_is_wanted_is_looked_at():
    found = asyncio.run(look({"lan_v4"}, host=Home()))
    assert (found.lan_v4, found.interfaces, found.problems) == ("192.168.1.5", {"lan_v4": "eth0"}, {})
    assert (found.lan_v6, found.public_v4, found.public_v6) == ("", "", "")
    assert asyncio.run(look(set(), host=Home())).problems == {}


def test_both_families_of_the_own_network_are_found_without_asking_anybody():
    found = asyncio.run(look({"lan_v4", "lan_v6"}, host=Home()))
    assert (found.lan_v4, found.lan_v6) == ("192.168.1.5", "2400:1::5")


def test_a_field_that_is_none_is_said():
    with pytest.raises(UsageError, match="there is no lan_v5; there are lan_v4"):
        asyncio.run(look({"lan_v4", "lan_v5"}, host=Home()))


def test_where_no_route_leads_out_nobody_is_asked():
    found = asyncio.run(look({"public_v6"}, host=Home(sources={"v4": "192.168.1.5"})))
    assert found.problems["public_v6"] == "this host has no way out by IPv6: it has no default route"


@pytest.mark.integration
@pytest.mark.parametrize("text", [ONE, f"{ONE}\n", f"  {ONE}\r\n", f"::ffff:{ONE}"])
def test_sources_that_agree_are_believed(text):
    found = looked(reply(text), reply(ONE), reply(f"{ONE}\n"))
    assert (found.public_v4, found.problems) == (ONE, {})


@pytest.mark.integration
@pytest.mark.parametrize(
    "odd",
    {
        "another address": reply(TWO),
        "a private one": reply("192.168.1.1"),
        "a hang": None,
        "a redirect": reply("", "Location: http://127.0.0.1:9/", status="302 Found"),
        "an error": reply(ONE, status="503 Service Unavailable"),
        "a page": reply(f"<html><body>{ONE}</body></html>"),
        "a long text": reply(f"{ONE}\n" + " " * 200),
        "an address of the other family": reply("2400:1::5"),
        "two addresses": reply(f"{ONE}, {TWO}"),
        "nothing": reply(""),
        "not even HTTP": b"220 mail.example.org ESMTP\r\n",
        "half an answer": reply(ONE)[:-3],
        "a closed door": b"",
        "bytes": reply(b"\xff\xfe\x00"),
        "endless fields": b"HTTP/1.1 200 OK\r\n" + b"X-More: yes\r\n" * 20000,
        "a packed answer": reply(b"\x1f\x8b\x08\x00", "Content-Encoding: gzip"),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_one_source_that_fails_or_lies_is_outvoted(odd):
    name, answer = odd
    found = looked(
        reply(ONE), answer, reply(ONE), timeout_seconds=LONG_ENOUGH if name == "a hang" else PATIENCE_SECONDS
    )
    assert (found.public_v4, found.problems) == (ONE, {})


@pytest.mark.integration
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (reply("", "Location: http://127.0.0.1:9/", status="301 Moved"), "sends elsewhere (HTTP 301)"),
        (reply(ONE, status="429 Too Many Requests"), "answers with HTTP 429"),
        (reply("x" * 101), "says more than 100 bytes"),
        (reply("<html>"), "says nothing that is an address"),
        (reply("2400:1::5"), "says 2400:1::5, which is no IPv4 address"),
        (reply(ONE)[:-1], "not HTTP, or half of one"),
        (b"", "not HTTP, or half of one"),
    ],
)
def test_why_a_source_is_not_believed_is_said(answer, problem):
    answered = said(answer)
    assert not answered.value
    assert problem in answered.problem
    assert str(answered).startswith("127.0.0.1:")


@pytest.mark.integration
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n8.8.\r\n3\r\n8.8\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n8.8.8.8\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n8.8.8.8",
        b"HTTP/1.1 200 OK\nContent-Length: 7\n\n8.8.8.8",
    ],
    ids=["chunks", "until the end", "early hints", "bare line feeds"],
)
def test_every_way_to_send_an_answer_is_understood(answer):
    assert said(answer).value == ONE


@pytest.mark.integration
def test_a_source_that_drips_is_dropped_in_time():
    async def drip(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        hung_up = asyncio.ensure_future(reader.read())
        while not hung_up.done():
            writer.write(b"X: y\r\n")
            await asyncio.wait({hung_up}, timeout=SHORTLY / 10)
        await hung_up

    assert asked_of(drip, timeout_seconds=SHORTLY).problem == "does not answer within 0.2 s"


@pytest.mark.integration
def test_a_source_that_pours_out_fields_is_dropped_before_its_time_is_over():
    async def pour(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + b"X-More: yes\r\n" * 5000)
        await reader.read()

    assert asked_of(pour).problem == "gives an answer that is not HTTP, or half of one"


@pytest.mark.integration
def test_sources_that_disagree_or_are_silent_are_told_one_by_one():
    problem = looked(reply(ONE), reply(TWO), reply("", status="500 Oops")).problems["public_v4"]
    assert problem.startswith("the sources disagree on the public IPv4 address: 127.0.0.1:")
    for part in (f"says {ONE}", f"says {TWO}", "answers with HTTP 500"):
        assert part in problem
    silent = looked(None, None, timeout_seconds=SHORTLY).problems["public_v4"]
    assert silent.startswith("no source tells the public IPv4 address: ")
    assert silent.count("does not answer within 0.2 s") == 2
    lonely = looked(reply(ONE), None, None, timeout_seconds=LONG_ENOUGH).problems["public_v4"]
    assert lonely.startswith("only one source tells the public IPv4 address, 2 must agree")


@pytest.mark.integration
def test_an_address_that_the_provider_shares_is_refused_with_the_way_out():
    found = looked(reply("100.64.1.2"), reply("100.64.1.2"), reply("100.64.1.2"))
    assert found.public_v4 == ""
    assert found.problems["public_v4"].endswith(
        "100.64.1.2 cannot be published: your provider shares one address among many (CGNAT, RFC 6598): use a tunnel"
    )


@pytest.mark.integration
def test_a_door_that_is_shut_and_a_family_that_is_not_there_are_told():
    shut = AddressSource("http", "127.0.0.1", free_port(), "/")
    answer = asyncio.run(ask_source(shut, "v4", PATIENCE_SECONDS))
    assert str(answer) == f"127.0.0.1:{shut.port} cannot be asked: Connection refused"
    other = asyncio.run(ask_source(shut, "v6", PATIENCE_SECONDS))
    assert other.problem == "has no IPv6 address, or it cannot be looked up"


@pytest.mark.integration
def test_what_sources_see_by_ipv6_is_published_as_the_stable_address_beside_it():
    temporary = "2400:1::aaaa:aaaa:aaaa:aaaa"
    found = looked(reply(temporary), reply(temporary), field="public_v6", host="::1")
    assert (found.public_v6, found.interfaces) == ("2400:1::5", {"public_v6": "eth0"})
    only = Home(InterfaceAddress("eth0", temporary, temporary=True))
    problem = looked(reply(temporary), reply(temporary), field="public_v6", host="::1", home=only).problems["public_v6"]
    assert problem == f"the sources see {temporary}, which does not last, and no lasting address is beside it"


@pytest.mark.integration
def test_all_is_found_in_one_look():
    async def run():
        async with serving(reply(ONE), reply(ONE)) as four, serving(reply("2400:1::5"), None, host="::1") as six:
            sources = sources_of([server.text for server in (*four, *six)])
            wanted = {"lan_v4", "lan_v6", "public_v4", "public_v6"}
            return await look(wanted, sources, timeout_seconds=LONG_ENOUGH, host=Home())

    found = asyncio.run(run())
    assert (found.lan_v4, found.lan_v6, found.public_v4, found.public_v6) == ("192.168.1.5", "2400:1::5", ONE, "")
    assert found.interfaces == {"lan_v4": "eth0", "lan_v6": "eth0"}
    (problem,) = found.problems.values()
    assert "only one source tells the public IPv6 address, 2 must agree" in problem
    assert problem.count("has no IPv6 address") == 2, "sources are asked by one family only"


@pytest.mark.integration
def test_a_source_learns_nothing_but_that_it_is_asked():
    async def run():
        async with serving(reply(ONE)) as (server,):
            (source,) = sources_of([f"{server.text}?format=text#part"])
            await ask_source(source, "v4", PATIENCE_SECONDS)
            return source, server.asked

    source, (request,) = asyncio.run(run())
    first, *fields = request.rstrip().split("\r\n")
    assert first == "GET /ip?format=text HTTP/1.1"
    assert f"Host: 127.0.0.1:{source.port}" in fields
    assert {field.partition(":")[0] for field in fields} == {
        "Host",
        "User-Agent",
        "Accept",
        "Accept-Encoding",
        "Connection",
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate of 127.0.0.1, signed by itself, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "echo")])
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "pair.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def asked_by_tls(pair, answer=reply(ONE)):  # noqa: B008 - bytes
    async def run():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair)
        async with serving(answer, context=context) as (server,):
            return await ask_source(*sources_of([server.text]), "v4", PATIENCE_SECONDS)

    return asyncio.run(run())


@pytest.mark.integration
def test_https_is_believed_where_the_certificate_is_trusted(pair, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(pair))
    assert asked_by_tls(pair).value == ONE


@pytest.mark.integration
def test_https_is_not_believed_otherwise(pair):
    answer = asked_by_tls(pair)
    assert (answer.value, answer.problem) == ("", "cannot be asked: TLS: self-signed certificate")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("greeting", "problem"), [(b"220 mail.example.org ESMTP\r\n", "TLS: [a-z ]+"), (b"", "[A-Z]?[a-z ]+")]
)
def test_https_where_none_is_spoken_is_told(greeting, problem):
    async def greet(reader, writer):
        await reader.read(4096)
        writer.write(greeting)

    answer = asked_of(greet, "https")
    assert not answer.value
    assert re.fullmatch(f"cannot be asked: {problem}", answer.problem)


class Whoami(asyncio.DatagramProtocol):
    """A DNS server that answers TXT questions with texts, or with bytes that are no DNS."""

    def __init__(self, texts):
        self.texts = texts
        self.names = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, client):
        if isinstance(self.texts, bytes):
            self.transport.sendto(data[:2] + self.texts, client)
            return
        question = dns.message.from_wire(data)
        self.names.append(str(question.question[0].name))
        answer = dns.message.make_response(question)
        if self.texts:
            values = [f'"{text}"' for text in self.texts]
            answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "TXT", *values))
        self.transport.sendto(answer.to_wire(), client)


def whoami(texts, host="127.0.0.1", family="v4", timeout_seconds=PATIENCE_SECONDS):
    async def run():
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(lambda: Whoami(texts), (host, 0))
        port = transport.get_extra_info("sockname")[1]
        (source,) = sources_of([f"dns:O-o.myaddr.example@{f'[{host}]' if ':' in host else host}:{port}"])
        try:
            return await ask_source(source, family, timeout_seconds), server.names
        finally:
            transport.close()

    return asyncio.run(run())


@pytest.mark.integration
def test_a_dns_server_says_who_asks():
    assert whoami([ONE])[0].value == ONE
    answer, names = whoami([ONE, "edns0-client-subnet 198.51.100.0/24"])
    assert answer.value == ONE
    assert names == ["o-o.myaddr.example."]
    assert whoami(["2400:1::5"], host="::1", family="v6")[0].value == "2400:1::5"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ([], "says nothing that is an address"),
        (["hello"], "says nothing that is an address"),
        ([ONE, TWO], "says several addresses"),
        (["2400:1::5"], "which is no IPv4 address"),
    ],
)
def test_a_dns_answer_that_is_no_address_is_said(texts, problem):
    assert problem in whoami(texts)[0].problem


@pytest.mark.integration
def test_a_dns_server_that_talks_nonsense_or_is_not_there_is_told():
    assert whoami(b"\x00garbage", timeout_seconds=SHORTLY)[0].problem
    source = AddressSource("dns", "127.0.0.1", free_port(socket.SOCK_DGRAM), "o-o.myaddr.example")
    assert asyncio.run(ask_source(source, "v4", SHORTLY)).problem


def test_a_resolver_that_hangs_holds_up_nobody():
    stop = threading.Event()

    async def run():
        async with asyncio.timeout(SHORTLY):
            await addresses_of("echo.example.org", 443, "v4", lambda *_: stop.wait(PATIENCE_SECONDS) and [])

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert not stop.is_set(), "the loop was left while the lookup still hung"
    stop.set()


def test_a_name_has_the_addresses_of_one_family_without_repeats():
    def lookup(_host, _port, family, _kind):
        return [(family, 1, 6, "", (text, 443)) for text in ("2400::1", "2400::2", "2400::1")]

    assert asyncio.run(addresses_of("echo.example.org", 443, "v6", lookup)) == ["2400::1", "2400::2"]


def test_sources_are_read():
    found = sources_of(
        ["https://IP.Example.org", "https://b.example:8443/ip?x=1", "dns:who.example@ns.example", "http://[::1]:80/"]
    )
    assert found == (
        AddressSource("https", "ip.example.org", 443, "/"),
        AddressSource("https", "b.example", 8443, "/ip?x=1"),
        AddressSource("dns", "ns.example", 53, "who.example"),
        AddressSource("http", "::1", 80, "/"),
    )
    assert sources_of([]) == DEFAULT_SOURCES


def test_four_default_sources_tell_each_family_and_each_has_a_voice_of_its_own():
    for family in ("v4", "v6"):
        assert len({one.label for one in DEFAULT_SOURCES if family in one.families}) == 4
    assert {one.scheme for one in DEFAULT_SOURCES} == {"https", "dns"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://ip.example.org/", "not https"),
        ("http://192.168.1.1/", "not https"),
        ("http://localhost.example.org/", "not https"),
        ("https://user:hunter2@ip.example.org/", "a password"),
        ("user:hunter2@ip.example.org", "neither https"),
        ("ftp://ip.example.org/", "neither https"),
        ("https:///ip", "neither https"),
        ("ip.example.org", "neither https"),
        ("", "neither https"),
        ("https://ip.example.org:port/", "Port"),
        ("https://[2400::1/", "Invalid IPv6"),
        ("https://ip example.org/", "ip example"),
        ("https://ip.example.org/a b", "signs"),
        ("dns:who.example", "not dns:name@server"),
        ("dns:@ns.example", "not dns:name@server"),
        ("dns:who.example@ns.example:port", "host:port"),
        ("dns:who..example@ns.example", "who"),
    ],
)
def test_what_is_no_source_is_said_without_its_passwords(text, problem):
    with pytest.raises(RejectedError, match="source 2: ") as caught:
        sources_of(["https://ip.example.org/", text])
    assert problem in caught.value.message
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_all_faults_of_sources_are_said_at_once():
    with pytest.raises(RejectedError, match="source 1: .*; source 3: "):
        sources_of(["http://ip.example.org", "https://ip.example.org", "dns:x"])
