"""The certificate store: old versions go, and never the one that the ingress is told to serve."""

from __future__ import annotations

import os

import pytest

from autogit.providers.ssl.local import LocalIssuer
from autogit.providers.ssl.store import named_versions
from tests.providers.ssl.test_local import DOMAIN, wish_for


@pytest.fixture
def issue(context, carry_out):
    """A function that issues versions, one after the other."""
    issuer = LocalIssuer(context)

    def run(*versions):
        for version in versions:
            assert carry_out(issuer, wish_for(context, version)).ok
        return issuer.store.versions(DOMAIN)

    return run


def name_version(context, version, path="traefik/dynamic/tls.yml", folder="/etc/autogit/certs"):
    file = context.paths.rendered / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"certFile: {folder}/{DOMAIN}/v{version}/fullchain.pem\n")


def test_the_newest_three_are_kept(issue):
    assert issue(1, 2, 3, 4, 5) == [3, 4, 5]


def test_a_version_in_force_outlives_all_that_could_not_be_served(issue, context):
    issue(1)
    name_version(context, 1)
    assert issue(2, 3, 4, 5, 6) == [1, 4, 5, 6]
    assert os.readlink(context.paths.certs / DOMAIN / "live") == "v6"
    name_version(context, 6)
    assert issue(7) == [5, 6, 7]


def test_versions_are_read_from_any_ingress_and_not_from_names_that_look_alike(context):
    name_version(context, 12)
    name_version(context, 3, "nginx/tls.conf", str(context.paths.certs))
    (context.paths.rendered / "nginx" / "other.conf").write_text(f"/certs/x{DOMAIN}/v7/ /certs/{DOMAIN}x/v8/ v9/")
    (context.paths.rendered / "nginx" / "odd.bin").write_bytes(b"\xff\xfe\x00")
    assert named_versions(context.paths, DOMAIN) == {3, 12}


def test_where_nothing_is_rendered_no_version_is_in_force(context):
    assert named_versions(context.paths, DOMAIN) == frozenset()
