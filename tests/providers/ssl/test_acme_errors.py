"""What an authority says when it refuses, as it is told to a user."""

from __future__ import annotations

import pytest

from autogit.errors import ProviderAuthError, RateLimitedError, RejectedError, UnavailableError
from autogit.providers.ssl.acme_errors import Problem, not_validated, refusal


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("rateLimited", 429, RateLimitedError),
        ("serverInternal", 500, UnavailableError),
        ("", 502, UnavailableError),
        ("unauthorized", 403, ProviderAuthError),
        ("externalAccountRequired", 403, ProviderAuthError),
        ("userActionRequired", 403, ProviderAuthError),
        ("rejectedIdentifier", 400, RejectedError),
        ("caa", 403, RejectedError),
        ("badPublicKey", 400, RejectedError),
        ("badCSR", 400, RejectedError),
        ("somethingNew", 418, RejectedError),
    ],
)
def test_every_refusal_has_its_class_and_a_way_out(code, status, kind):
    error = refusal("ca", "the order", Problem(code, "words of the authority", status))
    assert type(error) is kind
    assert error.message.startswith("ca: the order: words of the authority")
    assert error.hint


def test_parts_of_a_problem_are_told_with_their_names():
    part = {
        "type": "urn:ietf:params:acme:error:rejectedIdentifier",
        "detail": "policy",
        "identifier": {"value": "a.test"},
    }
    body = {"type": "urn:ietf:params:acme:error:compound", "detail": "several", "subproblems": [part, "odd", None]}
    error = refusal("ca", "the order", Problem.parse(body, 403))
    assert error.message == "ca: the order: several; a.test: policy"
    assert "mend the name" in error.hint


def test_what_a_server_says_cannot_steer_a_terminal():
    found = Problem.parse({"type": "x", "detail": "bad\x1b[2Jname\r\nnext\u202e" + "a" * 9999})
    assert found.words.startswith("bad [2Jname  next ")
    assert len(found.words) < 2000


@pytest.mark.parametrize(
    "body", [None, [], "text", 3, {}, {"type": 4, "detail": []}, {"detail": "x", "subproblems": "no"}]
)
def test_odd_problem_documents_are_read_without_a_stumble(body):
    found = Problem.parse(body)
    assert found is None or found.words


def test_the_way_out_of_a_failed_validation_depends_on_its_kind():
    kinds = ["dns", "connection", "unauthorized", "caa", "dnssec", "tls", "unknown to us"]
    hints = {not_validated("ca", [("home.test", Problem(kind, "no"))]).hint for kind in kinds}
    assert len(hints) == len(kinds)
