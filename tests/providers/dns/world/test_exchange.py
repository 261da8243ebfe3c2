"""One question to one server, which does odd things that no real server here does."""

from __future__ import annotations

import asyncio

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import pytest

from autogit.errors import UnavailableError
from autogit.model.dns import RecordKey
from autogit.providers.dns.world.exchange import Question, Reply, ask_address, ask_https, check_https_url
from tests.providers.dns.dnsmasq_server import free_port
from tests.providers.dns.world.odd_server import OddServer

pytestmark = pytest.mark.integration

GIT = Question(RecordKey("git.example.test", "A"), recurse=False)


def answer(query, value="192.0.2.1", **changed):
    """A good answer, changed in places."""
    made = dns.message.make_response(query)
    made.flags |= dns.flags.AA
    made.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", value))
    for name, one in changed.items():
        setattr(made, name, one)
    return made.to_wire()


def ask(question=GIT, timeout_seconds=5.0, **behaviour):
    """Ask a server that behaves so; returns it and the values."""

    async def asked():
        async with OddServer(**behaviour) as server:
            reply = await ask_address("127.0.0.1", server.port, question, timeout_seconds)
            return server, reply

    return asyncio.run(asked())


def test_an_old_server_is_asked_again_without_edns():
    def old(query):
        if query.edns < 0:
            return answer(query)
        refusal = dns.message.make_response(query)
        refusal.set_rcode(dns.rcode.FORMERR)
        return refusal.to_wire()

    server, reply = ask(udp=old)
    assert reply.values(GIT.key) == ("192.0.2.1",)
    assert [query.edns for query in server.queries] == [0, -1]


def test_answers_to_other_questions_are_passed_over():
    """A forged one has another id or another question."""
    other = dns.message.make_query("other.example.test", "A")
    forged = [lambda query: answer(query, "192.0.2.66", id=query.id ^ 1), lambda _: answer(other), lambda _: b"x"]
    _, reply = ask(udp=lambda query: [*(one(query) for one in forged), answer(query)])
    assert reply.values(GIT.key) == ("192.0.2.1",)


def test_a_cut_answer_is_asked_for_again_over_tcp():
    def cut(query):
        return dns.message.from_wire(answer(query)).to_wire()[:2] + b"\x86\x00" + answer(query)[4:]

    _, reply = ask(udp=cut, tcp=lambda query: answer(query, "192.0.2.2"))
    assert reply.values(GIT.key) == ("192.0.2.2",)
    with pytest.raises(UnavailableError, match="has a long answer, which takes TCP, but does not answer"):
        ask(udp=cut)


def test_what_is_not_dns_is_said():
    with pytest.raises(UnavailableError, match="answers with something that is not DNS"):
        ask(tcp=lambda _: b"HTTP/1.1 400 Bad Request", timeout_seconds=0.3)


def test_a_closed_port_does_not_answer():
    with pytest.raises(UnavailableError, match="^does not answer$"):
        ask(timeout_seconds=0.3)


def test_the_bits_of_a_question_are_sent():
    key = GIT.key
    wished = {
        Question(key): dns.flags.RD | dns.flags.CD,
        Question(key, recurse=False): dns.flags.CD,
        Question(key, unchecked=False, authentic=True): dns.flags.RD | dns.flags.AD,
    }
    for question, flags in wished.items():
        server, _ = ask(question, udp=answer)
        assert server.queries[0].flags == flags


def test_a_reply_says_what_a_chain_of_aliases_ends_in():
    text = (
        "id 1\nopcode QUERY\nrcode NOERROR\nflags QR RD RA\n;QUESTION\na.test. IN A\n;ANSWER\n"
        "a.test. 60 IN CNAME B.test.\nb.test. 60 IN A 192.0.2.1\n"
    )
    reply = Reply(dns.message.from_text(text))
    assert reply.final_values("A") == ("192.0.2.1",)
    assert reply.values(RecordKey("a.test", "A")) == ()
    assert reply.alias("a.test") == "b.test"
    endless = "".join(f"n{number}.test. 60 IN CNAME n{number + 1}.test.\n" for number in range(40))
    assert Reply(dns.message.from_text(text.replace("a.test. IN A", "n0.test. IN A") + endless)).final_values("A") == ()


@pytest.mark.parametrize(
    "url", ["http://dns.test/q", "dns.test", "https://", "https://me:secret@dns.test/q", "ftp://x"]
)
def test_only_https_urls_are_taken(url):
    with pytest.raises(ValueError, match="https://") as refused:
        check_https_url(url)
    assert "secret" not in str(refused.value)


def test_an_https_server_that_is_not_there_is_said():
    with pytest.raises(UnavailableError, match="cannot be reached: "):
        ask_https(f"https://127.0.0.1:{free_port()}/dns-query", GIT, 2.0)
