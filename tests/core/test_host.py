"""Facts of the host: a listening port is named with its process, ours are not busy."""

from __future__ import annotations

import os
import socket

import pytest

from autogit.core.host import gather_host_facts, listening_ports


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


def test_the_measures_are_those_of_this_host(tmp_path):
    facts = gather_host_facts(
        tmp_path / "not" / "there" / "yet", executables={"x": "/x"}, certificates={}, secret_fingerprints={}
    )
    assert 1 <= facts.cpus <= (os.cpu_count() or 1)
    assert facts.memory_bytes > 2**20
    assert facts.disk_free_bytes > 0
    assert facts.executables == {"x": "/x"}
