"""Addresses: what git is never given."""

from __future__ import annotations

import pytest

from autogit.errors import UsageError
from autogit.providers.git.urls import check_url, host_of


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("https://github.com/a/b.git", "https"),
        ("http://127.0.0.1:8080/a", "http"),
        ("https://[::1]:8443/a", "https"),
        ("ssh://git@example.org:2222/a/b", "ssh"),
        ("git@example.org:a/b.git", "ssh"),
        ("/srv/git/a b.git", "file"),
    ],
)
def test_an_address_is_taken(url, transport):
    assert check_url(url) == transport


@pytest.mark.parametrize(
    "url",
    [
        "", "-oProxyCommand=x", "--upload-pack=touch /tmp/x", "ext::sh -c touch% /tmp/x", "https::https://a/b",
        "fd::7", "file:///etc", "git://example.org/a", "ftp://example.org/a", "https://a/b\n--upload-pack=x",
        "https://a/\x1b[2J", "https://user:pw@example.org/a", "https://ghp_token@example.org/a",
        "ssh://git:pw@example.org/a", "ssh://-oProxyCommand=x/a", "ssh://git@-oProxyCommand=x/a", "git@-oX=y:a",
        "ssh://-x@example.org/a", "git@example.org:-a", "ssh://git@example.org/-a", "https:///a", "https://a b/c",
        "a/b", "../a",
        "https://example.org/a?private_token=x", "https://example.org:port/a", "https://[::1/a",
    ],
)  # fmt: skip
def test_an_address_is_refused_without_showing_it(url):
    with pytest.raises(UsageError) as caught:
        check_url(url)
    assert len(url) < 8 or url not in caught.value.message + caught.value.hint


def test_a_host_is_the_same_with_and_without_its_usual_port():
    assert host_of("https://Example.org/a") == host_of("https://example.org:443/b")
    assert host_of("https://example.org") != host_of("http://example.org")
