"""Networks on an engine: made, made anew under the containers that are on them, and removed once nobody is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from autogit.errors import AutogitError, RejectedError
from autogit.model.plan import Change
from autogit.model.resource import Value
from autogit.providers.compute.engine.body import object_labels
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.observe import ours


async def change_network(engine: Engine, project: str, change: Change) -> tuple[str, Mapping[str, Value]]:
    """Carry out one change of a network; return what was done and the attributes that only the engine knows."""
    before = change.before.attributes if change.before else {}
    if change.after is None:
        return await drop_network(engine, str(before.get("name") or "")), {}
    labels = object_labels("network", project, change.address.name)
    if not before:
        return "created", {"id": await _create(engine, change.after.attributes, labels)}
    return await _remake(engine, before, change.after.attributes, labels)


async def drop_network(engine: Engine, name: str) -> str:
    """Remove a network of ours. Raises RejectedError where a container is on it."""
    raw = await engine.find(lambda api: api.inspect_network(name))
    if raw is None or not ours(raw.get("Labels")):
        return "already gone"
    if members := [str(row.get("Name")) for row in (raw.get("Containers") or {}).values()]:
        raise RejectedError(
            f"docker: network {name} is used by {', '.join(sorted(members))}",
            hint="docker network disconnect takes a container off it",
        )
    await engine.find(lambda api: api.remove_network(name))
    return "removed"


async def _create(engine: Engine, wish: Mapping[str, Value], labels: Mapping[str, str]) -> str:
    async with engine.network_changes():  # the engine makes one after the other: so in the order they are needed
        made: Mapping[str, Any] = await engine.call(
            lambda api: api.create_network(
                str(wish["name"]),
                driver="bridge",
                internal=bool(wish["internal"]),
                ipam=_ipam(str(wish["subnet"])),
                labels=dict(labels),
                check_duplicate=True,
            )
        )
    return str(made["Id"])


async def _remake(
    engine: Engine, before: Mapping[str, Value], wish: Mapping[str, Value], labels: Mapping[str, str]
) -> tuple[str, Mapping[str, Value]]:
    """Make a network anew under its containers; where that fails they are on the former one again."""
    former, name = str(before["name"]), str(wish["name"])
    members = await _members(engine, former)
    try:
        for member in members:
            await engine.find(partial(_leave, member=member, network=former))
        await engine.find(lambda api: api.remove_network(former))
        made = await _create(engine, wish, labels)
    except AutogitError:
        if await engine.find(lambda api: api.inspect_network(former)) is None:
            await _create(engine, before, labels)
        await _join_all(engine, members, former)
        raise
    await _join_all(engine, members, name)
    return f"created anew, {len(members)} containers joined" if members else "created anew", {"id": made}


async def _members(engine: Engine, network: str) -> dict[str, list[str]]:
    """Return the running containers on a network, each with the names it is known by there."""
    raw = await engine.find(lambda api: api.inspect_network(network))
    members: dict[str, list[str]] = {}
    for container_id in (raw or {}).get("Containers") or {}:
        inspected = await engine.find(partial(_inspect, container_id=container_id))
        endpoint = ((inspected or {}).get("NetworkSettings") or {}).get("Networks", {}).get(network) or {}
        members[container_id] = [a for a in endpoint.get("Aliases") or () if not container_id.startswith(a)]
    return members


async def _join_all(engine: Engine, members: Mapping[str, Sequence[str]], network: str) -> None:
    for member, aliases in members.items():
        inspected = await engine.find(partial(_inspect, container_id=member))
        if inspected is not None and network not in inspected["NetworkSettings"]["Networks"]:
            await engine.find(partial(_join, member=member, network=network, aliases=aliases))


def _inspect(api: Any, *, container_id: str) -> Any:
    return api.inspect_container(container_id)


def _leave(api: Any, *, member: str, network: str) -> None:
    api.disconnect_container_from_network(member, network, force=True)


def _join(api: Any, *, member: str, network: str, aliases: Sequence[str]) -> None:
    api.connect_container_to_network(member, network, aliases=list(aliases))


def _ipam(subnet: str) -> Any:
    if not subnet:
        return None
    from docker.types import IPAMConfig, IPAMPool  # noqa: PLC0415 - with the rest of the SDK

    return IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
