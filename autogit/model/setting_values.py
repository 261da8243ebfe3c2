"""What a value in `.env` must look like, beyond its type: each function returns it in its one form, or says why not."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Address, ip_address
from typing import Any

HIGHEST_PORT = 65535
_ISSUER = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")  # RFC 8659 section 4.2
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_LONGEST_DOMAIN = 253
_LEAST_SUBNET = 29


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
