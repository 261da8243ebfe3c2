"""The contract of an issuer: a reconciler of certificates that also says what is in its store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from autogit.model.host import CertificateFacts
from autogit.providers.base import Reconciler
from autogit.providers.ssl.store import CertificateStore, named_versions


class CertificateProvider(Reconciler):
    """Issues `certificate/<base domain>` into versioned folders; a version that was written is never written again."""

    provider_type: ClassVar[str] = "ssl"
    at_once: bool = False
    """Whether somebody waits for it: then no pause after a failure is kept, but what the authority set as a limit."""
    patient: bool = False
    """Whether nobody waits for it, as in healing: then the pause is kept for a certificate that is missing, too."""
    kinds: ClassVar[tuple[str, ...]] = ("certificate",)

    @property
    def issuer(self) -> str:
        """What the authority is called in plans."""
        return self.provider_name

    @property
    def issuers(self) -> frozenset[str]:
        """The names of all authorities whose certificates may be in force."""
        return frozenset({self.issuer})

    @abstractmethod
    def facts(self, now: datetime) -> Mapping[str, CertificateFacts]:
        """Return the newest version of each certificate in the store, by name; reads only."""

    def put_live(self, name: str, version: int) -> None:
        """Point `live` at a version, and remove old ones but for those that the ingress is told to serve."""
        CertificateStore(self.context.paths.certs).tidy(name, version, named_versions(self.context.paths, name))

    @abstractmethod
    def root_path(self, base_domain: str) -> Path:
        """Return the file of the root that signs a domain's certificates; it need not exist."""
