"""The wire to an ACME server (RFC 8555 section 6): signed requests with fresh nonces, and what went wrong in words."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from autogit import __version__
from autogit.errors import ProviderError
from autogit.model.acme import AcmeServer
from autogit.providers.retry_after import wait_seconds
from autogit.providers.ssl.acme_errors import Problem, refusal, unavailable
from autogit.providers.ssl.acme_keys import AccountKey, JsonObject

if TYPE_CHECKING:
    import requests

NONCE_TRIES = 20
"""A server may refuse nonces at any rate (RFC 8555 section 6.5): at one in two, five tries fail 3 requests in 100."""
_LARGEST_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 65536
_NEEDED = ("newNonce", "newAccount", "newOrder", "revokeCert")
_ITSELF = "it"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_LINK = re.compile(r'<([^>]*)>[^,<]*;\s*rel="?([^",;]+)"?')


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: a key, and the account's URL; without one the public key itself is sent."""

    key: AccountKey
    kid: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `problem` where the server refused. `retry_after_seconds` is 0 where it did not say."""

    status: int
    headers: Mapping[str, str]
    text: str
    retry_after_seconds: float = 0.0
    problem: Problem | None = None

    @property
    def json(self) -> JsonObject:
        """The body's JSON object, empty where it is none."""
        with suppress(ValueError):
            found = json.loads(self.text)
            if isinstance(found, dict):
                return found
        return {}

    def said(self, key: str) -> str:
        """Return a text of the JSON object, "" where there is none."""
        value = self.json.get(key)
        return value if isinstance(value, str) else ""

    def links(self, relation: str) -> list[str]:
        """Return the targets of all links of a relation: several of one kind are usual here (RFC 8555 7.4.2)."""
        return [url for url, rel in _LINK.findall(self.headers.get("Link", "")) if rel == relation]


@dataclass(frozen=True, slots=True)
class Directory:
    """What a server offers (RFC 8555 section 7.1.1); `profiles` are their descriptions by name."""

    urls: Mapping[str, str]
    terms_url: str = ""
    website: str = ""
    caa_identities: tuple[str, ...] = ()
    needs_binding: bool = False
    profiles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: JsonObject) -> Directory:
        """Return a directory; what is odd in it is left out."""
        found = body.get("meta")
        meta: JsonObject = found if isinstance(found, Mapping) else {}
        identities, profiles = meta.get("caaIdentities"), meta.get("profiles")
        return cls(
            urls={key: value for key, value in body.items() if isinstance(value, str)},
            terms_url=str(meta.get("termsOfService") or ""),
            website=str(meta.get("website") or ""),
            caa_identities=tuple(map(str, identities)) if isinstance(identities, list) else (),
            needs_binding=meta.get("externalAccountRequired") is True,
            profiles={str(k): str(v) for k, v in profiles.items()} if isinstance(profiles, Mapping) else {},
        )


class Wire:
    """Speaks to one server; its methods block. `now` returns aware moments, for dates in Retry-After."""

    def __init__(self, server: AcmeServer, now: Callable[[], datetime]) -> None:
        self.server = server
        self.now = now
        self._nonces: list[str] = []
        self._session: requests.Session | None = None
        self._directory: Directory | None = None

    def close(self) -> None:
        """Close what is open; the next request opens it again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def directory(self) -> Directory:
        """Return the server's directory, asked for once. Raises ProviderError where the URL leads elsewhere."""
        if self._directory is None:
            reply = self.get(self.server.directory_url, "its directory")
            directory = Directory.parse(reply.json)
            missing = [key for key in _NEEDED if key not in directory.urls]
            if missing:
                raise ProviderError(
                    f"{self.server.name}: what answers at {self.server.directory_url} is not an ACME directory",
                    hint="set CERT_ISSUER to the directory URL that the authority's documentation names",
                )
            self._directory = directory
        return self._directory

    def get(self, url: str, doing: str) -> Reply:
        """Return the answer to an unsigned question. Raises as `checked` does."""
        return self.checked(self._send("GET", url), doing)

    def post(self, url: str, payload: JsonObject | None, signer: Signer, doing: str, *, accept: str = "") -> Reply:
        """Return the answer to a signed request, which may be a refusal; nonces that are not taken are replaced.

        `doing` is what is asked for, in words; a payload of None is a POST-as-GET (RFC 8555 section 6.3). Raises
        UnavailableError where there is no answer, or one of a server that is out of order.
        """
        headers = {"Content-Type": "application/jose+json"} | ({"Accept": accept} if accept else {})
        for _ in range(NONCE_TRIES):
            body = signer.key.sign(payload, url, nonce=self._nonce(), kid=signer.kid)
            reply = self._send("POST", url, body, headers)
            if reply.problem is None or reply.problem.code != "badNonce":
                break
        problem = reply.problem
        if problem is not None and (problem.status >= 500 or problem.code in {"badNonce", "rateLimited"}):  # noqa: PLR2004 - server errors
            raise refusal(self.server.name, doing, problem, reply.retry_after_seconds)
        return reply

    def checked(self, reply: Reply, doing: str) -> Reply:
        """Return an answer that is none of refusal. Raises the error of a refusal, `doing` being what was asked for."""
        if reply.problem is not None:
            raise refusal(self.server.name, doing, reply.problem, reply.retry_after_seconds)
        return reply

    def _nonce(self) -> str:
        with suppress(IndexError):
            return self._nonces.pop()
        self._send("HEAD", self.directory().urls["newNonce"])
        with suppress(IndexError):
            return self._nonces.pop()
        raise unavailable(self.server.name, "it gives out no nonces, so nothing can be asked of it")

    def _send(
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        import requests  # noqa: PLC0415 - 60 ms that only ACME needs

        self._check_url(url)
        try:
            with self._opened().request(
                method,
                url,
                data=body,
                headers=dict(headers or {}),
                timeout=self.server.timeout_seconds,
                # Given with each request: what the environment says of certificates would win over the session's.
                verify=self.server.ca_file or True,
                # A signature is for one URL; a redirected POST would become a GET as well.
                allow_redirects=method == "GET",
                stream=True,
            ) as response:
                return self._reply(response, self._body_of(response).decode("utf-8", "replace"))
        except (requests.exceptions.SSLError, ssl.SSLError) as exc:
            raise self._untrusted(exc) from exc
        except requests.exceptions.Timeout as exc:
            raise unavailable(
                self.server.name, f"{self._whom(url)} did not answer within {self.server.timeout_seconds:g} s"
            ) from exc
        except OSError as exc:  # that of requests is one
            raise unavailable(self.server.name, f"{self._whom(url)} cannot be reached ({_cause(exc)})") from exc

    def _body_of(self, response: requests.Response) -> bytes:
        body = bytearray()
        for piece in response.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > _LARGEST_BYTES:
                raise unavailable(
                    self.server.name, f"{self._whom(response.url)} sends more than an ACME server ever has to"
                )
        return bytes(body)

    def _opened(self) -> requests.Session:
        if self._session is None:
            import requests  # noqa: PLC0415 - 60 ms that only ACME needs

            self._session = requests.Session()
            self._session.headers["User-Agent"] = f"autogit/{__version__}"
            self._session.hooks["response"].append(self._keep_nonce)
        return self._session

    def _keep_nonce(self, response: requests.Response, **_options: object) -> None:
        """Keep the nonce of each answer, refusals included (RFC 8555 section 6.5)."""
        nonce = response.headers.get("Replay-Nonce", "")
        if re.fullmatch(r"[A-Za-z0-9_-]+", nonce):
            self._nonces[:] = [nonce]

    def _reply(self, response: requests.Response, text: str) -> Reply:
        status = response.status_code
        wait = wait_seconds(response.headers.get("Retry-After", ""), self._clock_of(response))
        reply = Reply(status, response.headers, text, wait)
        if status < 300:  # noqa: PLR2004 - success
            return reply
        problem = Problem.parse(reply.json, status)
        return Reply(
            status, response.headers, text, wait, problem or Problem("", f"HTTP {status} without a reason", status)
        )

    def _clock_of(self, response: requests.Response) -> datetime:
        """Return the server's own clock where it says what it is: a date in Retry-After is meant by that one."""
        with suppress(TypeError, ValueError):
            told = parsedate_to_datetime(response.headers["Date"]) if "Date" in response.headers else None
            if told is not None and told.tzinfo is not None:
                return told
        return self.now()

    def _check_url(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            return
        raise ProviderError(
            f"{self.server.name}: {url!r} is no https URL, and ACME is spoken over TLS only (RFC 8555 section 6.1)",
            hint="set CERT_ISSUER to the directory URL that the authority's documentation names",
        )

    def _whom(self, url: str) -> str:
        """Return the host of a URL; a server that is called by its host has said that already."""
        host = urlsplit(url).netloc.rpartition("@")[2] or url
        return _ITSELF if host == self.server.name else host

    def _untrusted(self, exc: Exception) -> ProviderError:
        name, file, whom = self.server.name, self.server.ca_file, self._whom(self.server.directory_url)
        whose = "its TLS certificate" if whom == _ITSELF else f"the TLS certificate of {whom}"
        return ProviderError(
            f"{name}: {whose} cannot be trusted ({_cause(exc)})",
            hint=f"ACME_CA_FILE ({file}) must hold the authority that signed it"
            if file
            else "an authority of your own needs ACME_CA_FILE; for a public one, look at this machine's clock",
        )


def check_ca_file(server: AcmeServer) -> None:
    """Raise ProviderError where the file that a server's TLS certificate is checked with is not there."""
    if server.ca_file and not Path(server.ca_file).is_file():
        raise ProviderError(
            f"{server.name}: there is no file {server.ca_file}, which its TLS certificate is checked with",
            hint="mend ACME_CA_FILE, or leave it empty for the authorities that this system trusts",
        )


def _cause(exc: BaseException) -> str:
    """Return what is at the bottom of a chain of errors, in few words."""
    while exc.__cause__ is not None or exc.__context__ is not None:
        exc = exc.__cause__ or exc.__context__ or exc
    words = getattr(exc, "strerror", None) or getattr(exc, "verify_message", None) or str(exc) or type(exc).__name__
    return str(words)
