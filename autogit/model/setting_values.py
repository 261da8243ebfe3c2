"""What a value in `.env` must look like, beyond its type: each function returns it in its one form, or says why not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Address, ip_address
from typing import Any

from autogit.model.security import DEFAULT_SOURCE, Thresholds

HIGHEST_PORT = 65535
_ISSUER = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")  # RFC 8659 section 4.2
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_LONGEST_DOMAIN = 253
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_LEAST_SUBNET = 29


def env_text(value: object) -> str:
    """Return a setting's value as `.env` has it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{one}" for key, one in value.items())
    if not isinstance(value, tuple):
        return str(value)
    is_flat = all(isinstance(item, str) for item in value)
    return ",".join(value) if is_flat else json.dumps(value, ensure_ascii=False)


def in_group(name: str, example: str = "") -> dict[str, Any]:
    """Return what a field of the settings says about itself: its group in the reference pages, and an example."""
    return {"group": name, "example": example}


def domain_name(value: Any) -> str:
    """Return a domain name in lower case without trailing dot (RFC 1035, section 2.3.1; A-labels for other scripts)."""
    name = str(value).strip().lower().removesuffix(".")
    if not name.isascii():
        with suppress(UnicodeError):
            raise ValueError(f"must be written in its ASCII form: {name.encode('idna').decode()}")
    labels = name.split(".")
    if len(name) > _LONGEST_DOMAIN or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):  # noqa: PLR2004
        raise ValueError("must be a domain name with at least one dot, as in example.org (no scheme, no path)")
    return name


def email_address(value: Any) -> str:
    """Return an e-mail address. Raises ValueError, as all of these do, with what it must be."""
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", str(value)):
        raise ValueError("must be an e-mail address, as in admin@example.org")
    return str(value)


def name_list(value: Any) -> tuple[str, ...]:
    """Return the names of a list with commas, each once."""
    names = tuple(n for n in (part.strip() for part in str(value).split(",")) if n) if isinstance(value, str) else value
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"names {', '.join(twice)} twice")
    return tuple(names)


def pool_of_ports(value: Any) -> str:
    """Return a range of TCP ports, `low-high`."""
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", str(value))
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= HIGHEST_PORT:
        raise ValueError("must be a range of ports, low-high, as in 20080-20999")
    return str(value)


def ip_address_text(value: Any) -> str:
    """Return an IP address in its canonical form (RFC 5952 for IPv6)."""
    try:
        return str(ip_address(str(value)))
    except ValueError as exc:
        raise ValueError("must be an IP address, as in 127.0.0.1 or 192.168.1.170") from exc


def url_list(value: Any) -> tuple[str, ...]:
    """Return names, of which those that are URLs hold nothing secret: settings are shown, and kept in the lockfile."""
    found = name_list(value)
    if any(one.startswith(("http://", "https://")) and ("@" in one or "?" in one) for one in found):
        raise ValueError("must hold no login and no query: settings are shown in plans")
    return found


def caa_issuers(value: Any) -> tuple[str, ...]:
    """Return issuer domains of CAA records (RFC 8659 section 4.2); `;` allows nobody."""
    found = name_list(value)
    if odd := [one for one in found if one != ";" and not _ISSUER.fullmatch(one)]:
        raise ValueError(f"must be domains of authorities, as in letsencrypt.org, and not {odd[0]!r}")
    return found


def commands(value: Any) -> tuple[tuple[str, ...], ...]:
    """Return commands as lists of words: no shell is involved, so none has to be quoted for one."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, list | tuple) or not all(isinstance(one, list | tuple) for one in found):
        raise ValueError('must be a list of commands, each a list of words, as in [["systemctl", "reload", "postfix"]]')
    commands = tuple(tuple(one) for one in found)
    if not all(one and one[0] and all(isinstance(word, str) and "\0" not in word for word in one) for one in commands):
        raise ValueError('must hold words in quotes, the program first, as in [["systemctl", "reload", "postfix"]]')
    if len(set(commands)) < len(commands):
        raise ValueError("names a command twice")
    return commands


def ipv6_or_word(value: Any) -> str:
    """Return an IPv6 address, `auto` or `none`."""
    if value in ("auto", "none"):
        return str(value)
    try:
        return str(IPv6Address(str(value)))
    except ValueError as exc:
        raise ValueError("must be an IPv6 address, auto or none") from exc


def ipv4_subnet(value: Any) -> str:
    """Return an IPv4 subnet that has room for a network's gateway and a few containers."""
    try:
        network = IPv4Network(str(value))
    except ValueError as exc:
        raise ValueError("must be an IPv4 subnet, as in 172.30.251.0/28") from exc
    if network.prefixlen > _LEAST_SUBNET:
        raise ValueError(f"must be /{_LEAST_SUBNET} or larger")
    return str(network)


def thresholds_by_source(value: Any) -> Any:
    """Return the thresholds of each source from `SOURCE:FLAG/QUARANTINE/BLOCK` (with commas); the default's always."""
    if not isinstance(value, str):
        return value
    found = {DEFAULT_SOURCE: Thresholds()}
    for source, text in _pairs(value, "SOURCE:FLAG/QUARANTINE/BLOCK, as in log:0.6/0.8/0.95"):
        try:
            flag, quarantine, block = (float(one) for one in text.split("/"))
            found[source] = Thresholds(flag, quarantine, block)
        except ValueError as exc:
            raise ValueError(
                f"{source} must have three numbers in order, 0 < flag <= quarantine <= block <= 1"
            ) from exc
    return found


def mode_by_service(value: Any) -> Any:
    """Return the filter's mode for each service from `SERVICE:MODE` (with commas)."""
    if not isinstance(value, str):
        return value
    return dict(_pairs(value, "SERVICE:MODE, as in gitlab:quarantine"))


def _pairs(text: str, form: str) -> list[tuple[str, str]]:
    pairs = [tuple(part.strip() for part in one.partition(":")[::2]) for one in text.split(",") if one.strip()]
    names = [name for name, _ in pairs]
    if not all(_NAME.fullmatch(name) and word for name, word in pairs):
        raise ValueError(f"must be {form}")
    if len(set(names)) < len(names):
        raise ValueError("names one of them twice")
    return [(name, word) for name, word in pairs]
