"""Runs dns-lexicon: one of its modules with its options, within a time, with errors of ours that show no secret."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderAuthError,
    ProviderError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
)
from autogit.providers.base import Clock
from autogit.providers.retry_after import wait_seconds

_LONGEST_QUOTE = 200
_OPTION = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(.*?)\s*", re.DOTALL)
_COMMA = re.compile(r"(?<!,),(?!,)")
_TOKEN = re.compile(r"[A-Za-z0-9+/_=%-]{20,}")
_NO_ZONE = re.compile(r"\b(no|unknown|find)\b.*\b(domain|zone)|\b(domain|zone)\b.*\bnot\b", re.IGNORECASE)
_NO_USE_OF_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_NO_URL = frozenset({"InvalidHeader", "InvalidSchema", "InvalidURL", "LocationParseError", "MissingSchema"})
_SETTINGS_HINT = "LEXICON_OPTIONS and LEXICON_SECRETS must have what `lexicon {} --help` lists, and have it right"
_ZONE_HINT = "is the zone in that account, and LEXICON_ZONES the name that it has there?"
_REFUSALS: Mapping[int, type[ProviderError]] = {
    401: ProviderAuthError,
    403: ProviderAuthError,
    404: MissingError,
    408: UnavailableError,
    425: UnavailableError,
}


def pairs(text: str) -> dict[str, str]:
    """Return `key=value,key=value` as a dictionary, `,,` being a comma. Raises ValueError, whose text has no value."""
    found = {}
    for number, part in enumerate((part for part in _COMMA.split(text) if part.strip()), 1):
        pair = _OPTION.fullmatch(part.replace(",,", ","))
        if pair is None:
            raise ValueError(f"part {number} is not key=value (a comma within a value is written twice)")
        found[pair[1]] = pair[2]
    return found


@dataclass(frozen=True, slots=True)
class Library:
    """One of lexicon's modules: `host` is its name, `options` and `secrets` are texts as `pairs` reads them."""

    host: str
    options: str
    secrets: SecretStr
    ttl: int
    clock: Clock
    timeout_seconds: float

    async def carry_out(self, zone: str, ask: Callable[[Any], Any]) -> Any:
        """Return what `ask` does with lexicon's client of a zone. Raises the errors of a DNS provider.

        It runs in a thread that nobody waits for where it takes too long: most modules wait for ever for an answer.
        """
        done: Future[Any] = Future()
        done.set_running_or_notify_cancel()

        def work() -> None:
            try:
                done.set_result(self._asked(zone, ask))
            except BaseException as exc:  # noqa: BLE001 - it is raised where the result is waited for
                done.set_exception(exc)

        threading.Thread(target=work, name=f"lexicon {zone}", daemon=True).start()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(done), self.timeout_seconds)
        except TimeoutError as exc:
            said = f"{self._where(zone)}: no answer within {self.timeout_seconds:g} seconds"
            raise UnavailableError(said) from exc

    def _asked(self, zone: str, ask: Callable[[Any], Any]) -> Any:
        """Open lexicon's module anew, since some remember what they have read; then ask."""
        resolver, make = self._resolver(zone), self._module_class()
        is_open, api = False, None
        try:
            api = make(resolver)
            api.authenticate()
            is_open = True
            return ask(api)
        except Exception as exc:  # noqa: BLE001 - lexicon's modules raise whatever they like
            fault = self._fault(zone, exc, is_open=is_open)
        finally:
            if api is not None:
                with suppress(Exception):
                    api.cleanup()
        # Raised here it has no cause, so that no traceback shows what lexicon's error may quote.
        raise fault

    def _resolver(self, zone: str) -> Any:
        try:
            secrets = pairs(self.secrets.get_secret_value())
        except ValueError as exc:
            raise ProviderAuthError(f"lexicon: LEXICON_SECRETS: {exc}", hint="auth_token=... is one") from None
        own = {**pairs(self.options), **secrets}
        config: Any = _import("lexicon.config")
        # Neither lexicon's environment variables nor its files are read: they are not told to it.
        return config.ConfigResolver().with_dict(
            {"provider_name": self.host, "domain": zone, "ttl": self.ttl, self.host: own}
        )

    def _module_class(self) -> Callable[[Any], Any]:
        """Return the class of the module.

        lexicon's own Client is passed by: it looks the zone up among public suffixes, for which it asks two web sites.
        """
        discovery: Any = _import("lexicon._private.discovery")
        # What it logs has answers of the host, and more than once they have a key.
        logging.getLogger("lexicon").setLevel(logging.CRITICAL + 1)
        there = discovery.find_providers()
        if self.host not in there:
            raise UnsupportedError(f"lexicon: there is no module {self.host}", hint="`lexicon --help` lists them")
        lacks = UnsupportedError(
            f"lexicon: the module {self.host} lacks a library", hint=f"pip install 'dns-lexicon[{self.host}]'"
        )
        if not there[self.host]:
            raise lacks
        try:
            module = discovery.load_provider_module(self.host)
        except ImportError as exc:
            raise lacks from exc
        if hasattr(module, "tldextract"):
            # Two modules look their zone up there as well, though it is what the configuration says.
            module.tldextract = SimpleNamespace(extract=_parted)
        made: Callable[[Any], Any] = module.Provider
        return made

    def _where(self, zone: str) -> str:
        return f"lexicon: {self.host}, zone {zone}"

    def _fault(self, zone: str, exc: Exception, *, is_open: bool) -> AutogitError:
        """Return our error for one of lexicon's, or of what it uses: nearly always it is requests."""
        answer, kind = getattr(exc, "response", None), type(exc).__name__
        if hasattr(answer, "status_code"):
            return self._refusal(zone, answer)
        hint = _SETTINGS_HINT.format(self.host)
        # The texts of these have the URL, and that may have a key.
        if kind in _NO_URL or isinstance(exc, _NO_USE_OF_FILE):
            why = getattr(exc, "strerror", None) or f"the host cannot be asked ({kind})"
            return RejectedError(f"{self._where(zone)}: {why}", hint=hint)
        if isinstance(exc, OSError) and kind != "HTTPError":
            return UnavailableError(f"{self._where(zone)}: no answer ({kind})")
        said = f"{self._where(zone)}: {self._without_secrets(exc)}"
        if kind == "AuthenticationError" and _NO_ZONE.search(str(exc)):
            return MissingError(said, hint=_ZONE_HINT)
        if kind == "AuthenticationError" or not is_open:
            return ProviderAuthError(said, hint=hint)
        return RejectedError(said)

    def _refusal(self, zone: str, answer: Any) -> AutogitError:
        """Return our error for an answer by HTTP that is none of success."""
        status, where = answer.status_code, self._where(zone)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = wait_seconds(answer.headers.get("Retry-After", ""), self.clock())
            return RateLimitedError(f"{where}: asked too often", retry_after_seconds=seconds)
        kind = _REFUSALS.get(status, RejectedError if status // 100 == 4 else UnavailableError)  # noqa: PLR2004
        hint = {ProviderAuthError: _SETTINGS_HINT.format(self.host), MissingError: _ZONE_HINT}.get(kind, "")
        said = f" ({self._without_secrets(answer.text)})" if kind is RejectedError and answer.text else ""
        return kind(f"{where}: HTTP status {status}{said}", hint=hint)

    def _without_secrets(self, what: object) -> str:
        """Return a text in one line without the secrets, nor anything else that is long enough to be one."""
        text = str(what)
        for secret in sorted(pairs(self.secrets.get_secret_value()).values(), key=len, reverse=True):
            coded = base64.b64encode(secret.encode()).decode()
            for form in filter(None, (secret, quote(secret, safe=""), quote_plus(secret), coded)):
                text = text.replace(form, "***")
        line = " ".join(_TOKEN.sub("***", text).split())[:_LONGEST_QUOTE]
        return line or type(what).__name__


def _import(name: str) -> Any:

    try:
        return import_module(name)
    except ImportError as exc:
        hint = "pip install 'autogit[lexicon]'"
        raise UnsupportedError("lexicon: dns-lexicon is missing, or too old", hint=hint) from exc


def _parted(zone: str) -> SimpleNamespace:
    name, _, suffix = zone.partition(".")
    return SimpleNamespace(domain=name, suffix=suffix)
