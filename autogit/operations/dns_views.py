"""The views of DNS that a project keeps: their providers, and the addresses that their names lead to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, cast

from autogit.core.addresses import load_book, save_book, updated
from autogit.core.provider_settings import provider_values
from autogit.model.addresses import AddressBook, AddressField, Finding, host_addresses
from autogit.model.dns import Targets, View
from autogit.model.project import ProjectPaths
from autogit.model.settings import Settings
from autogit.providers.base import ProviderContext, utc_now
from autogit.providers.dns.asking import system_servers
from autogit.providers.dns.base import DNSProvider
from autogit.providers.dns.patience import PatientDNS
from autogit.providers.dns.records import DNSRecords
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.host.addresses import DEFAULT_SOURCES, look, sources_of
from autogit.providers.registry import provider_class, provider_config


def load_dns(settings: Settings, context: ProviderContext) -> DNSRecords | None:
    """Return the records of all views, or None where no provider is chosen."""
    chosen = {View.PUBLIC: settings.dns_provider, View.LAN: settings.dns_lan_provider}
    views = {view: _provider(view, name, settings, context) for view, name in chosen.items() if name != "none"}
    return DNSRecords(context, views, allow_private=settings.dns_allow_private) if views else None


def _provider(view: View, name: str, settings: Settings, context: ProviderContext) -> DNSProvider[Any]:
    found, values = provider_class("dns", name), provider_values(settings)
    changed: dict[str, Any] = {}
    if "zones" in found.Config.model_fields and f"{name}_ZONES".upper() not in values:
        changed["zones"] = (settings.base_domain,)
    if view is View.LAN and "private" in found.Config.model_fields:
        changed["private"] = True
    config = provider_config("dns", name, values, **changed)
    return PatientDNS(cast("DNSProvider[Any]", found(context, config)))


def lookup_of(provider: DNSProvider[Any], settings: Settings) -> Lookup:
    """Return what asks the world about a provider's zones: one of the own network is asked where it is kept."""
    return world_lookup(settings, provider.asked_at or (tuple(system_servers()) if provider.private else ()))


def world_lookup(settings: Settings, servers: tuple[str, ...] = ()) -> Lookup:
    """Return what asks the world, or (`servers`) those instead of a zone's own; no provider is needed for it."""
    if not settings.dns_resolvers:
        return Lookup(LookupConfig(servers=servers))
    https = tuple(one for one in settings.dns_resolvers if one.startswith("https://"))
    plain = tuple(one for one in settings.dns_resolvers if one not in https)
    return Lookup(LookupConfig(servers=servers, resolvers=plain, doh_urls=https))


async def find_targets(
    settings: Settings, views: Mapping[View, DNSProvider[Any]], paths: ProjectPaths
) -> dict[View, Targets]:
    """Return what is detected for each view; what the settings give is not looked for.

    A zone of the own network leads to this host's address there, a public one to the address that the network has on
    the internet: the one that `autogit dns sync` keeps in mind, else what its sources say now.
    """
    return {view: await _targets(view, provider, settings, paths) for view, provider in views.items()}


async def _targets(view: View, provider: DNSProvider[Any], settings: Settings, paths: ProjectPaths) -> Targets:
    wanted = wanted_fields(view, provider, settings)
    if not wanted:
        return Targets()
    book = load_book(paths.addresses)
    missing = [name for name in wanted if name.startswith("lan") or not book.value(name)]
    return _as_targets(await look_anew(book, missing, settings, utc_now()) if missing else book, wanted)


def wanted_fields(view: View, provider: DNSProvider[Any], settings: Settings) -> tuple[AddressField, ...]:
    """Return which addresses a view needs that the settings do not give."""
    public = view is View.PUBLIC
    four = settings.ingress_ip if public else settings.ingress_lan_ip
    six = settings.ingress_ipv6 if public else settings.ingress_lan_ipv6
    found: list[AddressField] = []
    if not four:
        found.append("lan_v4" if provider.private else "public_v4")
    if six == "auto":
        found.append("lan_v6" if provider.private else "public_v6")
    return tuple(found)


def _as_targets(book: AddressBook, wanted: tuple[AddressField, ...]) -> Targets:
    found = {name[-2:]: book.entries[name] for name in wanted if name in book.entries}
    return Targets(
        **{family: entry.value for family, entry in found.items()},
        **{f"problem_{family}": entry.problem for family, entry in found.items()},
    )


async def look_anew(
    book: AddressBook, wanted: Collection[AddressField], settings: Settings, now: datetime
) -> AddressBook:
    """Return the book after one look for these fields; the file is not touched."""
    sources = sources_of(settings.dns_address_sources) if settings.dns_address_sources else DEFAULT_SOURCES
    return updated(book, await look(wanted, sources), now)


def remember(dns: DNSRecords, settings: Settings, targets: Mapping[View, Targets], paths: ProjectPaths) -> None:
    """Keep the public addresses that a plan was made with, so that the next one is made with the same."""
    book = load_book(paths.addresses)
    found: dict[AddressField, Finding] = {}
    for view, target in targets.items():
        for name in wanted_fields(view, dns.views[view], settings):
            value = target.v4 if name.endswith("v4") else target.v6
            if name.startswith("public") and value and not book.value(name):
                found[name] = Finding(value)
    if found:
        save_book(paths.addresses, updated(book, host_addresses(found), utc_now()))
