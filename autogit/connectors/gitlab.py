"""The client of the platform's own GitLab: python-gitlab with our patience, our errors and no way for a token out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import gitlab
import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter

from autogit.connectors.gitlab_errors import fault_of, no_api
from autogit.errors import AutogitError, RateLimitedError, UnavailableError

T = TypeVar("T")
_TIMEOUT_SECONDS = 30.0
_TRIES = 4
_PAUSES_SECONDS = (0.5, 2.0, 6.0)
LONGEST_WAIT_SECONDS = 120.0
"""What is waited for a GitLab that says when to come again; longer ones are told to the user."""


@dataclass(frozen=True)
class GitLabPlace:
    """Where a GitLab is. `address` (host, port) is where to connect to, where its name need not resolve.

    `ca_file` is the certificate that its own must be signed by ("": those that this machine trusts).
    """

    url: str
    address: tuple[str, int] | None = None
    ca_file: str = ""
    timeout_seconds: float = _TIMEOUT_SECONDS
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


class GitLabClient:
    """One GitLab and one token. Everything it raises is an AutogitError without the token in it; it blocks.

    Reads are repeated where GitLab does not answer, anything where it wants to be asked again later: such a request was
    not carried out. A write whose answer was lost is not repeated: whoever asked has to look first.
    """

    def __init__(self, place: GitLabPlace, token: SecretStr) -> None:
        self.place = place
        self._token = token
        self._session = _Session(place)
        self._api = gitlab.Gitlab(
            place.url,
            private_token=token.get_secret_value() or None,
            ssl_verify=place.ca_file or True,
            timeout=place.timeout_seconds,
            session=self._session,
            per_page=100,
            keep_base_url=True,  # GitLab's links carry its public name, which need not lead here
        )

    def read(self, work: Callable[[gitlab.Gitlab], T]) -> T:
        """Ask something that changes nothing; repeated where no answer comes."""
        return self._patiently(work, is_repeatable=True)

    def write(self, work: Callable[[gitlab.Gitlab], T]) -> T:
        """Have something changed; repeated only where GitLab says that it did not begin with it."""
        return self._patiently(work, is_repeatable=False)

    def get(self, path: str, /, **parameters: Any) -> Any:
        """Return what GET of an API path answers, as Python values."""
        return self._json(self.read(lambda api: api.http_get(path, query_data=parameters, **_NO_RETRY)))

    def list_all(self, path: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Return all pages of a list."""
        return self.read(lambda api: list(api.http_list(path, query_data=parameters, iterator=True, **_NO_RETRY)))

    def post(self, path: str, /, **body: Any) -> Any:
        """Have something made."""
        return self._json(self.write(lambda api: api.http_post(path, post_data=body, **_NO_RETRY)))

    def put(self, path: str, /, **body: Any) -> Any:
        """Have something changed."""
        return self._json(self.write(lambda api: api.http_put(path, post_data=body, **_NO_RETRY)))

    def delete(self, path: str) -> None:
        """Have something deleted."""
        self.write(lambda api: api.http_delete(path, **_NO_RETRY))

    def _json(self, answer: Any) -> Any:
        """Refuse what is no JSON: python-gitlab hands that through."""
        if isinstance(answer, requests.Response):
            raise no_api(self.place.url)
        return answer

    def _patiently(self, work: Callable[[gitlab.Gitlab], T], *, is_repeatable: bool) -> T:
        attempt = 0
        while True:
            try:
                return self._once(work)
            except RateLimitedError as exc:
                self._wait(exc, attempt)
            except UnavailableError:
                if not is_repeatable or attempt >= _TRIES - 1:
                    raise
                self.place.sleep(_PAUSES_SECONDS[attempt])
            attempt += 1

    def _once(self, work: Callable[[gitlab.Gitlab], T]) -> T:
        try:
            return work(self._api)
        except AutogitError:
            raise
        except (gitlab.GitlabError, requests.RequestException, OSError, ValueError) as exc:
            hidden = self._token.get_secret_value()
            # Not `from exc`: python-gitlab's errors carry whole answers, in which a new token may be.
            raise fault_of(exc, self.place.url, hidden, self._session.retry_after, datetime.now(UTC)) from None

    def _wait(self, exc: RateLimitedError, attempt: int) -> None:
        told = exc.retry_after_seconds
        if attempt >= _TRIES - 1 or told > LONGEST_WAIT_SECONDS:
            raise exc
        self.place.sleep(told or _PAUSES_SECONDS[attempt])


_NO_RETRY: dict[str, Any] = {"obey_rate_limit": False, "retry_transient_errors": False}
"""python-gitlab would wait as long as GitLab says, an hour if need be, and with the clock of this process."""


class _Session(requests.Session):
    """Connects where the place says, follows nobody elsewhere with the token, and hears how long to wait."""

    def __init__(self, place: GitLabPlace) -> None:
        super().__init__()
        self.trust_env = False  # a .netrc or a proxy of this machine has no part in talking to our own GitLab
        self._heard = threading.local()
        if place.address is not None:
            adapter = _At(urlsplit(place.url).hostname or "", *place.address)
            self.mount("https://", adapter)
            self.mount("http://", adapter)

    @property
    def retry_after(self) -> str:
        """Retry-After of this thread's last answer, "" without."""
        return str(getattr(self._heard, "retry_after", ""))

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Ask once, and go nowhere else."""
        self._heard.retry_after = ""
        options["allow_redirects"] = False  # the token's header would go along
        response = super().request(*arguments, **options)
        self._heard.retry_after = response.headers.get("Retry-After", "")
        return response


class _At(HTTPAdapter):
    """Connects to an address, and asks there for the name: in Host, in SNI, and of the certificate."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self._name, self._place = name, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Have TLS look for the name."""
        named = partial(super().init_poolmanager, *arguments, **options)
        named(server_hostname=self._name, assert_hostname=self._name)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Send to the address what is meant for the name."""
        parts = urlsplit(request.url or "")
        request.headers["Host"] = parts.netloc
        request.url = parts._replace(netloc=self._place).geturl()
        return super().send(request, *arguments, **options)
