"""The account at an ACME server (RFC 8555 section 7.3): its key and registration on disk, made, found again, rolled."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderAuthError,
    ProviderError,
    RejectedError,
    StorageFullError,
    UnavailableError,
)
from autogit.model.acme import AcmeServer
from autogit.providers.host.atomic import write_atomic
from autogit.providers.ssl.acme_errors import Problem, refusal
from autogit.providers.ssl.acme_keys import AccountKey, JsonObject, new_account_key
from autogit.providers.ssl.acme_wire import Reply, Signer, Wire

_LOCK_POLL_SECONDS = 0.05
_OURS_ONLY = 0o077


@dataclass(frozen=True, slots=True)
class Registration:
    """What is known of an account, without its key: `thumbprint` is that of the key it was last seen with."""

    uri: str
    directory_url: str
    thumbprint: str
    email: str = ""
    terms_url: str = ""


def account_folder(accounts: Path, directory_url: str) -> Path:
    """Return where the account of a directory lies: one folder each, staging apart from production."""
    host = re.sub(r"[^a-z0-9.-]", "_", (urlsplit(directory_url).netloc.rpartition("@")[2] or "unknown").lower())
    return accounts / f"{host}-{hashlib.sha256(directory_url.encode()).hexdigest()[:8]}"


class Account:
    """One account. Its methods block, and raise AutogitErrors only.

    | on disk                     | what happened                                      | next start           |
    |-----------------------------|----------------------------------------------------|----------------------|
    | `key.pem` alone             | killed before the server's answer was written      | the server finds it  |
    | `key.pem`, `key.new.pem`    | killed in a roll-over: either may be the server's  | both are asked about |
    | `regr.json` without its key | the key was lost                                   | a new account        |
    """

    def __init__(
        self,
        server: AcmeServer,
        accounts: Path,
        wire: Wire,
        note: Callable[[str], None] = lambda _text: None,
        *,
        lock_wait_seconds: float = 120.0,
    ) -> None:
        self.server = server
        self.folder = account_folder(accounts, server.directory_url)
        self._wire = wire
        self._note = note
        self._lock_wait_seconds = lock_wait_seconds

    @property
    def key_file(self) -> Path:
        """The account's private key."""
        return self.folder / "key.pem"

    @property
    def new_key_file(self) -> Path:
        """The key that a roll-over is to, until the server has said yes."""
        return self.folder / "key.new.pem"

    @property
    def registration_file(self) -> Path:
        """What is known of the account; no secret."""
        return self.folder / "regr.json"

    def stored(self) -> Registration | None:
        """Return what is on disk, None without or where it is damaged: the server tells it anew."""
        try:
            return Registration(**json.loads(self.registration_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def ensure(self, *, forgotten: bool = False) -> Signer:
        """Return who signs: the stored account, else one that is found or made. `forgotten`: the server said so."""
        with self._locked():
            return self._settle(forgotten=forgotten)

    def find(self) -> Signer | None:
        """Return who signs, None where there is no account here; makes none."""
        if not self.folder.is_dir():
            return None
        with self._locked():
            return self._found()

    def roll_over(self) -> Signer:
        """Give the account a new key (RFC 8555 section 7.3.5); a run killed in between is healed at the next start."""
        with self._locked():
            old = self._settle()
            self._write(self.new_key_file, new_account_key())
            new = self._load(self.new_key_file)
            reply = self._change_key(old, new)
            if reply.problem is not None and reply.problem.code == "accountDoesNotExist":
                old = Signer(old.key, self._register(old.key).uri)
                reply = self._change_key(old, new)
            if reply.problem is None:
                return self._take_new_key(new, old.kid)
            # Whoever stands between may have said no to what the server had said yes to.
            self._heal()
            if self._load(self.key_file).thumbprint == new.thumbprint:
                return Signer(new, old.kid)
            raise refusal(self.server.name, "the account's new key", reply.problem, reply.retry_after_seconds)

    def deactivate(self) -> None:
        """Close the account for good (section 7.3.6); its key is kept aside, and the next order makes a new account."""
        with self._locked():
            signer = self._found()
            if signer is None:
                raise MissingError(
                    f"{self.server.name}: there is no account here that could be deactivated",
                    hint=f"accounts of this authority lie in {self.folder}",
                )
            reply = self._wire.post(signer.kid, {"status": "deactivated"}, signer, "deactivating the account")
            # Those two are what a repeated call is told where the answer to the first was lost.
            if reply.problem is not None and reply.problem.code not in {"unauthorized", "accountDoesNotExist"}:
                raise refusal(self.server.name, "deactivating the account", reply.problem, reply.retry_after_seconds)
            with self._storing():
                self.registration_file.unlink(missing_ok=True)
                self.key_file.replace(self.folder / f"key.deactivated-{int(self._wire.now().timestamp())}.pem")

    # -- under the lock ------------------------------------------------------------------------------------------

    def _found(self) -> Signer | None:
        if not self.key_file.exists() and not self.new_key_file.exists():
            return None
        self._heal()
        key = self._load(self.key_file)
        stored = self._stored_for(key)
        uri = stored.uri if stored else self._uri_of(key)
        return Signer(key, uri) if uri else None

    def _settle(self, *, forgotten: bool = False) -> Signer:
        self._heal()
        if not self.key_file.exists():
            # Before the server hears of it: a key that is nowhere but there could never be used again.
            self._write(self.key_file, new_account_key())
        key = self._load(self.key_file)
        stored = None if forgotten else self._stored_for(key)
        if stored is None:
            stored = self._register(key)
        elif stored.email != self.server.email:
            stored = self._change_contact(Signer(key, stored.uri), stored)
        return Signer(key, stored.uri)

    def _stored_for(self, key: AccountKey) -> Registration | None:
        stored = self.stored()
        return stored if stored is not None and stored.thumbprint == key.thumbprint else None

    def _register(self, key: AccountKey) -> Registration:
        """Make the account, or find that of this key: the server answers the same (section 7.3.1)."""
        directory = self._wire.directory()
        body: dict[str, object] = {"termsOfServiceAgreed": True}
        if self.server.email:
            body["contact"] = self._contact()
        binding = self._binding(key, directory.urls["newAccount"])
        if binding is not None or directory.needs_binding:
            # Some bindings can be used once: an account that has been bound needs none.
            uri = ""
            with contextlib.suppress(RejectedError):  # not every server knows this question
                uri = self._uri_of(key)
            if uri:
                return self._known(Signer(key, uri), directory.terms_url)
            if binding is None:
                raise self._needs_binding()
            body["externalAccountBinding"] = binding
        reply = self._wire.post(directory.urls["newAccount"], body, Signer(key), "making the account")
        self._accepted(reply, bound=binding is not None)
        if reply.status == HTTPStatus.CREATED:
            return self._remember(key, self._uri_in(reply), directory.terms_url)
        return self._known(Signer(key, self._uri_in(reply)), directory.terms_url)

    def _known(self, signer: Signer, terms_url: str) -> Registration:
        """Write down an account that was there: it has the address that it was made with."""
        stored = self._remember(signer.key, signer.kid, terms_url, email="")
        return self._change_contact(signer, stored) if self.server.email else stored

    def _accepted(self, reply: Reply, *, bound: bool) -> None:
        name = self.server.name
        if reply.problem is None:
            if reply.said("status") not in {"", "valid"}:
                raise self._closed(reply.said("status"))
            return
        code = reply.problem.code
        if bound and code in {"unauthorized", "malformed", "externalAccountRequired"}:
            raise ProviderAuthError(
                f"{name}: the account was refused: {reply.problem.words}",
                hint=f"{self._eab_settings} must be a pair of this authority; some can be used once",
            )
        if code == "externalAccountRequired":
            raise self._needs_binding()
        if code == "unauthorized":
            raise self._closed("not usable")
        raise refusal(name, "the account was refused", reply.problem, reply.retry_after_seconds)

    def _binding(self, key: AccountKey, url: str) -> JsonObject | None:
        kid, secret = self.server.eab_key_id, self.server.eab_hmac_key
        if bool(kid) != bool(secret):
            raise ProviderAuthError(
                f"{self.server.name}: of external account binding {'the HMAC key' if kid else 'the key id'} is missing",
                hint=f"set both {self._eab_settings}, or neither",
            )
        if not kid:
            return None
        try:
            return key.bound_to(kid, secret, url)
        except ValueError as exc:
            raise ProviderAuthError(
                f"{self.server.name}: the EAB HMAC key cannot be used: it is not base64url",
                hint=f"copy {self.server.eab_setting}_HMAC_KEY again from the authority's site, whole, without quotes",
            ) from exc

    def _uri_of(self, key: AccountKey) -> str:
        """Return the account of a key as the server knows it, "" where it knows none (section 7.3.1)."""
        url = self._wire.directory().urls["newAccount"]
        reply = self._wire.post(url, {"onlyReturnExisting": True}, Signer(key), "asking for the account")
        if reply.problem is None:
            return self._uri_in(reply)
        if reply.problem.code in {"accountDoesNotExist", "externalAccountRequired"}:
            return ""
        if reply.problem.code == "unauthorized":
            raise self._closed("not usable")
        raise refusal(self.server.name, "asking for the account", reply.problem, reply.retry_after_seconds)

    def _uri_in(self, reply: Reply) -> str:
        uri = reply.headers.get("Location", "")
        if uri:
            return uri
        raise ProviderError(
            f"{self.server.name}: it did not say where the account is (RFC 8555 section 7.3)",
            hint="the server does not keep to the protocol; ask its operator",
        )

    def _change_contact(self, signer: Signer, stored: Registration) -> Registration:
        reply = self._wire.post(signer.kid, {"contact": self._contact()}, signer, "the account's new e-mail address")
        if reply.problem is None:
            return self._remember(signer.key, stored.uri, stored.terms_url)
        if reply.problem.code == "accountDoesNotExist":
            return self._register(signer.key)
        # No reason to let a certificate expire: it is told at each order.
        refused = refusal(self.server.name, "the account's new e-mail address", reply.problem)
        self._note(f"{refused.message}; {refused.hint}")
        return stored

    def _contact(self) -> list[str]:
        return [f"mailto:{self.server.email}"] if self.server.email else []

    def _change_key(self, old: Signer, new: AccountKey) -> Reply:
        url = self._wire.directory().urls.get("keyChange", "")
        if not url:
            self._drop_new_key()
            raise ProviderError(
                f"{self.server.name}: it has no roll-over of account keys", hint="deactivate the account instead"
            )
        inner = new.sign({"account": old.kid, "oldKey": old.key.public}, url)
        return self._wire.post(url, json.loads(inner), old, "the account's new key")

    def _heal(self) -> None:
        """Find out which key the server knows where a roll-over was interrupted; without an answer both stay."""
        if not self.new_key_file.exists():
            return
        new = self._load(self.new_key_file)
        uri = self._uri_of(new)
        if uri:
            self._take_new_key(new, uri)
            self._note(f"{self.server.name}: an interrupted roll-over of the account's key was completed")
        elif self.key_file.exists():
            self._drop_new_key()
            self._note(f"{self.server.name}: an interrupted roll-over of the account's key was undone")
        else:
            with self._storing():
                self.new_key_file.replace(self.key_file)

    def _take_new_key(self, new: AccountKey, uri: str) -> Signer:
        with self._storing():
            self.new_key_file.replace(self.key_file)
        stored = self.stored()
        self._remember(new, uri, stored.terms_url if stored else "", stored.email if stored else None)
        return Signer(new, uri)

    def _drop_new_key(self) -> None:
        with self._storing():
            self.new_key_file.unlink(missing_ok=True)

    # -- files ---------------------------------------------------------------------------------------------------

    def _remember(self, key: AccountKey, uri: str, terms_url: str, email: str | None = None) -> Registration:
        address = self.server.email if email is None else email
        known = Registration(uri, self.server.directory_url, key.thumbprint, address, terms_url)
        self._write(self.registration_file, json.dumps(asdict(known), indent=1).encode())
        return known

    def _load(self, path: Path) -> AccountKey:
        try:
            if stat.S_IMODE(path.stat().st_mode) & _OURS_ONLY:
                path.chmod(0o600)
                self._note(f"{self.server.name}: others could read {path}; its mode is 0600 now")
            return AccountKey.load(path.read_bytes())
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "damaged, or of a kind that is not used here"
            raise ProviderError(
                f"{self.server.name}: the account's key {path} cannot be used: {why}",
                hint=f"restore it from a backup, or move {self.folder} aside to make a new account: what was issued "
                "to the old one can then be revoked with the certificate's own key only",
            ) from exc

    def _write(self, path: Path, data: bytes) -> None:
        with self._storing():
            write_atomic(path, data, 0o600)

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        """Say where files cannot be written, in the server's name."""
        try:
            yield
        except StorageFullError as exc:
            raise StorageFullError(f"{self.server.name}: {exc.message}", hint=exc.hint) from exc
        except OSError as exc:
            raise StorageFullError(
                f"{self.server.name}: cannot write {self.folder}: {exc.strerror}",
                hint="free space or mend the permissions, then run the command again",
            ) from exc

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes and threads from making or rolling this account; the lock ends with its process."""
        with self._storing():
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _acquire(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._lock_wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise UnavailableError(
                        f"{self.server.name}: another process has had this account all the "
                        f"{self._lock_wait_seconds:.0f} s",
                        hint=f"wait for it; it holds {self.folder / 'lock'}",
                    ) from None
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                return

    # -- sentences -----------------------------------------------------------------------------------------------

    def _closed(self, status: str) -> AutogitError:
        return ProviderAuthError(
            f"{self.server.name}: the account of the key in {self.folder} is {status} at the authority",
            hint=f"move {self.folder} aside: the next order makes a new account",
        )

    def _needs_binding(self) -> AutogitError:
        words = Problem("externalAccountRequired", "it takes accounts with external account binding only")
        error = refusal(self.server.name, "the account was refused", words)
        error.hint = f"set {self._eab_settings} to what the authority's site shows"
        return error

    @property
    def _eab_settings(self) -> str:
        return f"{self.server.eab_setting}_KEY_ID and {self.server.eab_setting}_HMAC_KEY"
