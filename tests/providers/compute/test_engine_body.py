"""What an engine is told of a container: the spec to the letter, with the labels that Docker Compose knows."""

from __future__ import annotations

import json

import pytest

from autogit.model.container import ContainerSpec, ImageSpec, Mount, PublishedPort
from autogit.model.service import HealthCheck
from autogit.model.spec import ContainerPayload
from autogit.providers.compute.engine.body import container_labels, create_body, object_labels

LABELS = {"autogit.managed": "true", "autogit.hash": "abc", "autogit.config": "", "autogit.reload": ""}


def payload(**fields):
    """A container with as little as possible, and these fields."""
    plain = {
        "service": "web",
        "image": "web:1",
        "command": (),
        "entrypoint": (),
        "environment": {},
        "mounts": (),
        "secrets": {},
        "networks": {"web": (), "metrics": ()},
        "ports": (),
        "depends_on": (),
        "cpus": 0.5,
        "memory_bytes": 64 * 1024**2,
        "health": None,
        "labels": LABELS,
    }
    return ContainerPayload(
        project="shop",
        rendered="/srv/shop/.autogit/rendered",
        container=ContainerSpec(**{**plain, **fields}),
        image=ImageSpec("web:1", "catalogue"),
        config_files=(),
        reload_signal="",
        ready_timeout_seconds=10,
        beside=True,
    )


def body(*, aliases=True, **fields):
    return json.loads(json.dumps(create_body(payload(**fields), "web:1", "sha256:1", aliases=aliases)))


def test_limits_are_in_the_engines_units_and_logs_are_rotated():
    host = body(pids_limit=99, shm_bytes=1024)["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["PidsLimit"], host["ShmSize"]) == (500_000_000, 67108864, 99, 1024)
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}


def test_what_nobody_asked_for_is_left_to_the_image():
    made = body()
    assert not {"Cmd", "Entrypoint", "StopSignal", "Healthcheck"} & set(made)
    host = made["HostConfig"]
    assert not any(host[n] for n in ("Devices", "DeviceRequests", "CapAdd", "Tmpfs", "PortBindings", "Privileged"))
    assert host["ReadonlyRootfs"] is True
    assert host["SecurityOpt"] == ["no-new-privileges:true"]


def test_mounts_must_exist_and_are_read_only_unless_they_are_volumes():
    mounts = (
        Mount("bind", "./web", "/etc/web"),
        Mount("bind", "/", "/host", propagation="rslave"),
        Mount("volume", "data", "/data", read_only=False),
    )
    host = body(mounts=mounts, secrets={"TOKEN": "/srv/shop/.autogit/secrets/web/TOKEN.v1"})["HostConfig"]
    assert "Binds" not in host, "a missing source would become a folder of root's"
    assert [(m["Type"], m["Source"], m["Target"], m["ReadOnly"]) for m in host["Mounts"]] == [
        ("bind", "/srv/shop/.autogit/rendered/web", "/etc/web", True),
        ("bind", "/", "/host", True),
        ("volume", "shop_data", "/data", False),
        ("bind", "/srv/shop/.autogit/secrets/web/TOKEN.v1", "/run/secrets/TOKEN", True),
    ]
    assert host["Mounts"][1]["BindOptions"] == {"Propagation": "rslave"}


def test_ports_are_published_where_the_spec_says():
    made = body(ports=(PublishedPort("127.0.0.1", 8443, 443),))
    assert made["ExposedPorts"] == {"443/tcp": {}}
    assert made["HostConfig"]["PortBindings"] == {"443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8443"}]}


@pytest.mark.parametrize(("aliases", "names"), [(True, {"Aliases": ["web", "other"]}), (False, {})])
def test_nobody_finds_it_by_its_name_before_it_is_proven(aliases, names):
    made = body(aliases=aliases, networks={"web": (), "metrics": ("other",)})
    assert made["NetworkingConfig"] == {"EndpointsConfig": {"shop_metrics": names}}
    assert made["HostConfig"]["NetworkMode"] == "shop_metrics"


def test_a_container_without_networks_has_none():
    made = body(networks={})
    assert made["HostConfig"]["NetworkMode"] == "none"
    assert "NetworkingConfig" not in made


def test_devices_and_gpus_are_asked_for_as_compose_does():
    host = body(devices=("/dev/kmsg", "/dev/a:/dev/b:r"), gpus="2")["HostConfig"]
    assert [tuple(device.values()) for device in host["Devices"]] == [
        ("/dev/kmsg", "/dev/kmsg", "rwm"),
        ("/dev/a", "/dev/b", "r"),
    ]
    assert host["DeviceRequests"][0]["Count"] == 2
    assert body(gpus="all")["HostConfig"]["DeviceRequests"][0]["Count"] == -1


def test_a_health_check_without_a_command_is_the_images_own_with_our_times():
    check = HealthCheck(interval_seconds=7, timeout_seconds=2, retries=4, start_period_seconds=9)
    seconds = 10**9
    times = {"Interval": 7 * seconds, "Timeout": 2 * seconds, "Retries": 4, "StartPeriod": 9 * seconds}
    assert body(health=check)["Healthcheck"] == times
    asked = check.model_copy(update={"test": ("CMD", "true")})
    assert body(health=asked)["Healthcheck"] == {"Test": ["CMD", "true"], **times}


def test_docker_compose_sees_the_container_and_offers_no_loss_of_volumes():
    labels = container_labels(payload(depends_on=("db",)), "sha256:1")
    assert labels["com.docker.compose.project"] == "shop"
    assert labels["com.docker.compose.config-hash"] == labels["autogit.hash"], "without it Compose is blind"
    assert labels["com.docker.compose.oneoff"] == "False"
    assert labels["com.docker.compose.depends_on"] == "db:service_healthy:false"
    assert not [name for name in object_labels("volume", "shop", "data") if "config-hash" in name]
