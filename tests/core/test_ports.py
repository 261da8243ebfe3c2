"""Ports: what is set wins, what is remembered stays, what is busy is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autogit.errors import PortTakenError
from autogit.model.lockfile import Lockfile

ENV = "SERVICES_ENABLED=api\n"


def _busy(workbench, **ports):
    workbench.facts = replace(workbench.facts, busy_ports={int(k[1:]): v for k, v in ports.items()})


def test_preferred_ports_first_then_the_pool(workbench):
    assert dict(workbench.spec(ENV).ports) == {
        "api/http": 20080,
        "traefik/http": 8080,
        "traefik/https": 8443,
        "traefik/ping": 20081,
        "traefik/metrics": 20082,
    }


def test_a_busy_preferred_port_gives_way_to_the_pool(workbench):
    _busy(workbench, p8443="nginx (pid 7)", p20080="")
    ports = workbench.spec(ENV).ports
    assert ports["traefik/https"] not in (8443, 20080)
    assert 20080 not in ports.values()


def test_with_explicit_allocation_a_busy_preferred_port_is_a_fault(workbench):
    _busy(workbench, p8443="nginx (pid 7)")
    with pytest.raises(PortTakenError) as refused:
        workbench.spec(ENV + "PORT_ALLOCATION=explicit\n")
    (fault,) = refused.value.faults
    assert (fault.subject, fault.message) == ("traefik/https=8443", "is in use by nginx (pid 7)")


def test_every_taken_port_is_named_with_process_and_line(workbench):
    _busy(workbench, p9000="nginx (pid 7)", p9001="")
    with pytest.raises(PortTakenError) as refused:
        workbench.spec(ENV + "HTTPS_PORT=9000\nPORT_API=9001\n")
    assert {(f.place, f.subject, f.message) for f in refused.value.faults} == {
        (".env line 2", "HTTPS_PORT=9000", "is in use by nginx (pid 7)"),
        (".env line 3", "PORT_API=9001", "is in use by another process"),
    }
    assert refused.value.message == "2 wanted ports are in use"
    assert "20082 is free" in refused.value.hint, "20080 and 20081 went to other ports of this platform"
    assert refused.value.exit_code == 2


def test_a_remembered_port_stays_even_if_a_better_one_is_free(workbench):
    workbench.lockfile = Lockfile(ports={"api/http": 20500, "traefik/https": 20501})
    ports = workbench.spec(ENV).ports
    assert (ports["api/http"], ports["traefik/https"]) == (20500, 20501)


def test_a_remembered_port_that_somebody_took_is_replaced_and_said(workbench):
    workbench.lockfile = Lockfile(ports={"api/http": 20500})
    _busy(workbench, p20500="redis (pid 9)")
    spec = workbench.spec(ENV)
    assert spec.ports["api/http"] != 20500
    assert any("20500 is now held by redis (pid 9)" in n.message for n in spec.notes)


def test_a_setting_beats_memory_and_takes_the_port_from_nobody_else(workbench):
    workbench.lockfile = Lockfile(ports={"api/http": 20500, "traefik/ping": 20080})
    ports = workbench.spec(ENV + "PORT_API=20080\n").ports
    assert ports["api/http"] == 20080
    assert len(set(ports.values())) == len(ports)


def test_one_port_of_a_service_can_be_fixed_alone(workbench):
    assert workbench.spec(ENV + "PORT_TRAEFIK_PING=9999\n").ports["traefik/ping"] == 9999


def test_an_exhausted_pool_is_a_fault_of_the_pool(workbench):
    with pytest.raises(PortTakenError) as refused:
        workbench.spec(ENV + "PORT_POOL=30000-30001\n")
    assert [(f.place, f.message) for f in refused.value.faults] == [(".env line 2", "30000-30001 has no free port")]


def test_in_containers_nobody_takes_the_ports_that_the_ingress_listens_on_for_itself(workbench):
    with pytest.raises(PortTakenError) as refused:
        workbench.spec("RUNTIME=docker\nSERVICES_ENABLED=gitlab\nHTTP_PORT=8082\nSSH_PORT=8083\n")
    assert {f.subject: f.message for f in refused.value.faults} == {
        "HTTP_PORT=8082": "is traefik's own port for ping",
        "SSH_PORT=8083": "is traefik's own port for metrics",
    }
    workbench.facts = replace(workbench.facts, busy_ports={80: "apache2 (pid 1)"})
    spec = workbench.spec("RUNTIME=docker\nSERVICES_ENABLED=api\nPORT_POOL=8082-8084\n")
    assert spec.ports["traefik/http"] == 8084


def test_a_published_port_that_moves_is_said_aloud(workbench):
    workbench.facts = replace(workbench.facts, busy_ports={443: "apache2 (pid 1)"})
    spec = workbench.spec("RUNTIME=docker\nSERVICES_ENABLED=api\n")
    (note,) = [n for n in spec.notes if n.subject == "traefik/https"]
    assert note.level == "warning"
    assert note.message == f"port 443 is in use by apache2 (pid 1): {spec.ports['traefik/https']} is taken"
