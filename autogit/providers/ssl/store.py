"""The certificate store: versioned folders, written once and whole, whoever issued what is in them."""

from __future__ import annotations

import json
import re
import shutil
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from autogit.errors import StorageFullError
from autogit.model.project import ProjectPaths
from autogit.model.settings import LOCAL_ISSUER
from autogit.providers.host.atomic import write_atomic
from autogit.providers.ssl.authority import matches_key

AUTHORITIES = "local-ca"
ACCOUNTS = "accounts"
_NOT_NAMES = frozenset({AUTHORITIES, ACCOUNTS})
_VERSIONS_KEPT = 3
_FREE_SPACE = "free space, then autogit up"


@dataclass(frozen=True)
class Stored:
    """One version as found on disk; `damage` says what is wrong with it ("" for nothing), `meta` what was noted."""

    version: int
    chain: tuple[x509.Certificate, ...] = ()
    damage: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        """Who signed it, as plans call the authority."""
        return str(self.meta.get("issuer") or LOCAL_ISSUER)

    @property
    def leaf(self) -> x509.Certificate | None:
        """The certificate itself, None where it cannot be read."""
        return self.chain[0] if self.chain else None


@dataclass(frozen=True)
class Pair:
    """What makes a version: the chain (PEM, leaf first), its key (PEM), and what is noted beside it."""

    fullchain: bytes
    key: bytes = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict)


class CertificateStore:
    """`<certs>/<name>/v<N>/`: key.pem (0600), fullchain.pem, issuer.pem (the chain's last), meta.json."""

    def __init__(self, certs: Path) -> None:
        self.certs = certs

    def names(self) -> list[str]:
        """Return the names that have a version, sorted."""
        found = sorted(p.name for p in self.certs.iterdir()) if self.certs.is_dir() else []
        return [name for name in found if name not in _NOT_NAMES and self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """Return the numbers of a name's versions, sorted."""
        folder = self.certs / name
        found = (re.fullmatch(r"v([1-9]\d*)", p.name) for p in folder.iterdir()) if folder.is_dir() else ()
        return sorted(int(match[1]) for match in found if match)

    def folder(self, name: str, version: int) -> Path:
        """Return the folder of a version."""
        return self.certs / name / f"v{version}"

    def newest(self, name: str) -> Stored | None:
        """Return the newest version, None where there is none."""
        versions = self.versions(name)
        return self.read(name, versions[-1]) if versions else None

    def read(self, name: str, version: int) -> Stored:
        """Return a version; whether its issuer is the right one is another's question."""
        folder = self.folder(name, version)
        try:
            chain = tuple(x509.load_pem_x509_certificates((folder / "fullchain.pem").read_bytes()))
            key_pem = (folder / "key.pem").read_bytes()
            mode = stat.S_IMODE((folder / "key.pem").stat().st_mode)
        except FileNotFoundError as exc:
            return Stored(version, damage=f"{Path(str(exc.filename)).name} is missing")
        except (OSError, ValueError):
            return Stored(version, damage="the certificate cannot be read")
        meta = _meta(folder / "meta.json")
        if not matches_key(chain[0], key_pem):
            return Stored(version, chain, "key and certificate do not belong together", meta)
        if mode & 0o077:
            return Stored(version, chain, "others can read its private key", meta)
        return Stored(version, chain, "", meta)

    def write(self, name: str, version: int, pair: Pair, now: datetime) -> None:
        """Write a version beside its final place, then move the whole folder there at once. Raises StorageFullError."""
        final = self.folder(name, version)
        fresh = final.with_name(f".{final.name}.new")
        issuer = pair.fullchain[pair.fullchain.rindex(b"-----BEGIN CERTIFICATE-----") :]
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            write_atomic(fresh / "key.pem", pair.key, 0o600)
            write_atomic(fresh / "fullchain.pem", pair.fullchain, 0o644)
            write_atomic(fresh / "issuer.pem", issuer, 0o644)
            write_atomic(fresh / "meta.json", json.dumps(pair.meta, indent=1).encode(), 0o644)
            if final.exists():  # a damaged pair of this number that nothing names any more
                final.rename(final.with_name(f"{final.name}.damaged-{int(now.timestamp())}"))
            fresh.rename(final)
        except OSError as exc:
            raise StorageFullError(f"cannot write {final}: {exc.strerror}", hint=_FREE_SPACE) from exc

    def tidy(self, name: str, version: int, in_force: Collection[int]) -> None:
        """Point `live` at a version and remove all but the newest three and those in force. Raises StorageFullError."""
        folder = self.certs / name
        fresh = folder / ".live.new"
        try:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(f"v{version}")
            fresh.replace(folder / "live")
            for old in self.versions(name)[:-_VERSIONS_KEPT]:
                if old not in in_force:
                    shutil.rmtree(self.folder(name, old))
        except OSError as exc:
            raise StorageFullError(f"cannot write {folder}: {exc.strerror}", hint=_FREE_SPACE) from exc


def named_versions(paths: ProjectPaths, name: str) -> frozenset[int]:
    """Return the versions of a name that rendered files lead to: where new ones could not be served, an old one is."""
    found: set[int] = set()
    for file in sorted(paths.rendered.rglob("*")) if paths.rendered.is_dir() else ():
        with suppress(OSError):
            text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
            found |= {int(one) for one in re.findall(rf"/{re.escape(name)}/v([1-9]\d*)/", text)}
    return frozenset(found)


def dns_names(leaf: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names of a certificate in the order a wish has them: the apex, then the wildcard."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):  # none of ours: it is good for no name at all
        return ()
    return tuple(sorted(alternatives.get_values_for_type(x509.DNSName), key=lambda name: (name.startswith("*"), name)))


def _meta(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
