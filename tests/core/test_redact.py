"""Redaction: a known secret never leaves, and ordinary words stay readable."""

from __future__ import annotations

from autogit.core.redact import redact


def test_every_known_secret_is_masked_longest_first():
    assert redact("a canary-1 b canary-1-long c", ["canary-1", "canary-1-long"]) == "a (secret) b (secret) c"


def test_short_values_do_not_blacken_words():
    assert redact("the api is up", ["api", "", "up"]) == "the api is up"
