"""Facts of the host: a listening port is named with its process, ours are not busy."""

from __future__ import annotations

import os
import socket

import pytest

from autogit.core.host import busy_ports, gather_host_facts, listening_ports


@pytest.fixture
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_listening_port_is_named_with_its_process(listening):
    assert listening_ports()[listening].endswith(f"(pid {os.getpid()})")


def test_our_own_processes_hold_no_port_against_us(listening):
    assert listening not in listening_ports([os.getpid()])


def test_a_port_that_is_asked_for_and_taken_is_named_with_its_holder(listening):
    assert busy_ports([], [], [listening])[listening].endswith(f"(pid {os.getpid()})")


def test_a_port_that_nobody_asks_for_is_known_to_be_busy_all_the_same(listening):
    assert listening in busy_ports([], [], [])


def test_a_port_of_our_own_is_not_asked_after(listening):
    assert busy_ports([], [listening], [listening]).get(listening) == ""


def test_the_measures_are_those_of_this_host(tmp_path):
    place = tmp_path / "not" / "there" / "yet"
    facts = gather_host_facts(place, executables={"x": "/x"}, certificates={}, secret_fingerprints={}, ports={80: "x"})
    assert 1 <= facts.cpus <= (os.cpu_count() or 1)
    assert facts.memory_bytes > 2**20
    assert facts.disk_free_bytes > 0
    assert facts.executables == {"x": "/x"}
    assert facts.busy_ports == {80: "x"}
