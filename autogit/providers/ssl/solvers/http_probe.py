"""Asks a name for a challenge's answer as an authority does: port 80, redirects to 443 followed, nothing verified."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from autogit.errors import UnavailableError
from autogit.model.dns import RecordKey
from autogit.providers.dns.world.lookup import Lookup

_PORTS = {"http": 80, "https": 443}
_MOST_REDIRECTS = 10  # as Let's Encrypt
_MOST_BYTES = 512
_SHOWN_CHARACTERS = 80
_REDIRECTS = {301, 302, 303, 307, 308}


def _as_it_is(address: str, port: int) -> tuple[str, int]:
    return address, port


@dataclass(frozen=True, slots=True)
class Probe:
    """How a name is asked: `lookup` knows its public addresses, `reach` maps address and port to where they really are.

    With `strict` a name that cannot be asked from here is an error; without, it is only told: behind a router that does
    not lead its own public address back inside nobody can ask from inside. `ports` are those that redirects may lead
    to.
    """

    lookup: Lookup
    reach: Callable[[str, int], tuple[str, int]] = _as_it_is
    timeout_seconds: float = 5.0
    strict: bool = True
    ports: tuple[int, ...] = tuple(_PORTS.values())


@dataclass(frozen=True, slots=True)
class Sight:
    """What one address answered: HTTP status (0: nothing), the body's beginning, the URL at the redirects' end.

    `error` is a sentence without the address, empty where something answered.
    """

    address: str
    status: int = 0
    body: str = ""
    url: str = ""
    error: str = ""

    def shows(self, value: str) -> bool:
        """Tell whether the answer is a challenge's (RFC 8555 section 8.3: blanks at the end do not count)."""
        return self.status == http.HTTPStatus.OK and self.body.rstrip() == value

    @property
    def sentence(self) -> str:
        """What was seen instead."""
        if self.error:
            return f"{self.address} {self.error}"
        text = " ".join(self.body.split())
        shown = f"{text[:_SHOWN_CHARACTERS]}..." if len(text) > _SHOWN_CHARACTERS else text
        return f"{self.address} answers {self.url} with {self.status}" + (f" and {shown!r}" if shown else "")


async def addresses_of(lookup: Lookup, name: str) -> tuple[tuple[str, ...], str]:
    """Return the addresses that the world has for a name, IPv6 first as authorities try them, or why there are none.

    The zone's own servers are asked, then public resolvers: what this network's resolver says may be another zone.
    """
    found: list[str] = []
    said: list[str] = []
    for kind in ("AAAA", "A"):
        key = RecordKey(name, kind)
        seen = await lookup.ask_all(key)
        rows = seen.speaking if not seen.sentence else ()
        if not rows:
            told = await lookup.public_answers(key, https_only=seen.intercepted)
            rows = tuple(row for row in told if not row.error)
            said += [seen.sentence, *(row.sentence for row in (*seen.answers, *told) if row.error)] if not rows else []
        found += sorted({value for row in rows for value in row.values})
    if found:
        return tuple(found), ""
    return (), "; ".join(dict.fromkeys(filter(None, said))) or f"{name} has no address in public DNS"


async def look(probe: Probe, name: str, address: str, path: str) -> Sight:
    """Return what an address answers for `http://NAME/PATH`, redirects followed; never raises."""
    url, at = f"http://{name}{path}", address
    for _ in range(_MOST_REDIRECTS + 1):
        sight, target = await asyncio.to_thread(_get, probe, at, url)
        if not target:
            return Sight(address, sight.status, sight.body, url, sight.error)
        host, refusal = _followable(target, probe.ports)
        if refusal:
            return Sight(address, error=f"redirects to {target}, {refusal}")
        if host != urlsplit(url).hostname:
            found, failure = await addresses_of(probe.lookup, host)
            if not found:
                return Sight(address, error=f"redirects to {target}: {failure}")
            at = found[0]
        url = target
    return Sight(address, error=f"redirects more than {_MOST_REDIRECTS} times, at last to {url}")


def _followable(url: str, ports: Collection[int]) -> tuple[str, str]:
    """Return a redirect's host, or why no authority follows it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", "which is no URL"
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not host:
        return "", "which is neither http nor https"
    if (port or _PORTS[parts.scheme]) not in ports:
        return "", "and authorities follow redirects to the ports 80 and 443 only"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host, ""
    return "", "and authorities do not follow redirects to addresses"


def _get(probe: Probe, address: str, url: str) -> tuple[Sight, str]:
    """Ask once; returns what was seen, and where it redirects to."""
    parts = urlsplit(url)
    host, port = probe.reach(address, parts.port or _PORTS[parts.scheme])
    link = _connection(host, port, parts.hostname or "", probe.timeout_seconds, is_tls=parts.scheme == "https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        link.request("GET", path, headers={"Host": parts.netloc, "User-Agent": "autogit", "Connection": "close"})
        answer = link.getresponse()
        body = answer.read(_MOST_BYTES).decode("utf-8", "replace")
        location = answer.getheader("Location") if answer.status in _REDIRECTS else None
    except TimeoutError:
        return Sight(address, error=f"does not answer {url} within {probe.timeout_seconds:g} s"), ""
    except ssl.SSLError as exc:
        return Sight(address, error=f"has no TLS to follow to {url}: {exc.reason or exc}"), ""
    except OSError as exc:
        return Sight(address, error=f"cannot be asked for {url}: {exc.strerror or exc}"), ""
    except (http.client.HTTPException, ValueError):  # ValueError: a path or host that cannot be sent
        return Sight(address, error=f"answers {url} with something that is not HTTP"), ""
    finally:
        link.close()
    return Sight(address, answer.status, body), urljoin(url, location) if location else ""


def _connection(host: str, port: int, name: str, timeout_seconds: float, *, is_tls: bool) -> http.client.HTTPConnection:
    if not is_tls:
        return http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    # Authorities verify nothing here either: the certificate is what is being asked for.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _Named(host, port, name, timeout_seconds, context)


class _Named(http.client.HTTPSConnection):
    """Connects to an address and asks for a name in the handshake."""

    def __init__(self, host: str, port: int, name: str, timeout_seconds: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout_seconds, context=context)
        self._name, self._tls = name, context

    def connect(self) -> None:
        """Connect with the name as SNI."""
        http.client.HTTPConnection.connect(self)
        try:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)
        except (OSError, ValueError):
            self.sock.close()
            raise


def unseen(name: str, failure: str) -> UnavailableError:
    """Return the error for a name without an address."""
    return UnavailableError(
        f"http-01: {name} cannot be asked: {failure}", hint=f"have a public A or AAAA record of {name} lead here"
    )
