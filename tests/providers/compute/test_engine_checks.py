"""What stands in the way on an engine: addresses that another network has."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from autogit.model.container import NetworkSpec
from autogit.model.plan import Action, Change
from autogit.model.resource import Address, Resource
from autogit.providers.compute.engine.checks import overlaps, subnets_of

EDGE = Address("network", "edge")


def wished(subnet, action=Action.CREATE, before=None):
    spec = NetworkSpec("edge", internal=False, subnet=subnet, setting="ACME_SUBNET")
    attributes = {"name": "two_edge", "internal": False, "subnet": subnet}
    former = Resource(EDGE, {"name": before}) if before else None
    return Change(EDGE, action, "", (), former, Resource(EDGE, attributes, payload=spec))


@pytest.mark.parametrize("held", ["172.30.251.0/28", "172.30.0.0/16", "172.30.251.8/29"])
def test_addresses_of_another_network_are_told_with_its_name_and_the_setting(held):
    (fault,) = overlaps(wished("172.30.251.0/28"), {"one_edge": [IPv4Network(held)]})
    assert (fault.place, fault.subject) == ("network/edge", "172.30.251.0/28")
    assert fault.message == f"overlaps with the network one_edge ({held}): set ACME_SUBNET to a free one"


@pytest.mark.parametrize(
    "change",
    [
        wished("172.30.252.0/28"),
        wished(""),
        wished("172.30.251.0/28", Action.NOOP),
        wished("172.30.251.0/28", Action.REPLACE, before="one_edge"),
    ],
    ids=["free addresses", "the engine chooses", "it is there", "it takes the place of its former self"],
)
def test_nothing_stands_in_the_way_of(change):
    assert list(overlaps(change, {"one_edge": [IPv4Network("172.30.251.0/28")]})) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, []),
        ({"IPAM": {"Config": None}}, []),
        ({"IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}, {"Subnet": "fd00::/64"}, {}]}}, [IPv4Network("10.0.0.0/24")]),
    ],
)
def test_the_subnets_of_a_network_are_read_as_an_engine_tells_them(row, expected):
    assert subnets_of(row) == expected
