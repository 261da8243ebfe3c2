"""What is known of the host a plan is made for: gathered once, then passed to pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autogit.model.container import short_repository
from autogit.model.dns import Targets, View


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The newest usable version of a certificate in the store.

    `version` is the N of `v<N>` (0: none). `due` is a sentence saying why a new one is needed ("20 of 90 days left",
    "not there yet"), empty where it is good. `names` are its SANs, sorted; `not_after` is RFC 3339, UTC; `renew_at` the
    moment from which it is due; `serial` hexadecimal. `can_wait` tells that it is due by its age alone and good for a
    while: `certs renew` sees to it, and an authority that does not answer keeps nobody's `up` from going on. `issuer`
    is who signed it.
    """

    version: int = 0
    due: str = "not there yet"
    names: tuple[str, ...] = ()
    renew_at: str = ""
    not_after: str = ""
    serial: str = ""
    key_type: str = ""
    can_wait: bool = False
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image that the engine has: its id, and what registries know it by (`repository@digest`, none for a local one).

    `architecture` is in Docker's words (`amd64`), `content` the digest of what AutoGit built it from ("" for others').
    """

    id: str
    digests: tuple[str, ...] = ()
    architecture: str = ""
    content: str = ""

    def digests_of(self, reference: str) -> tuple[str, ...]:
        """Return the digests by which the repository of a reference knows it; another registry may have another one."""
        wanted = short_repository(reference)
        return tuple(text.rpartition("@")[2] for text in self.digests if short_repository(text) == wanted)

    def digest_of(self, reference: str) -> str:
        """Return one of those digests, "" where there is none."""
        return next(iter(self.digests_of(reference)), "")


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a container engine says of itself; sizes are bytes.

    `api_version` is the one agreed on, `root_dir` where its data is. `images` maps a reference or an id to what the
    engine has (absent: not there), `content` is what AutoGit's own image would be built from now. `own_ports` are
    published by this project's containers, `other_ports` maps a port that another container publishes to its name.
    `limits` are sentences on what does not work on this engine (rootless, another machine).
    """

    api_version: str
    version: str = ""
    architecture: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    gpus: bool = False
    root_dir: str = ""
    images: Mapping[str, ImageFacts] = field(default_factory=dict)
    content: str = ""
    own_ports: frozenset[int] = frozenset()
    other_ports: Mapping[int, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Host measures and finds that the spec is built with.

    `owner` is the user and group who run AutoGit (`uid:gid`), to whom its files belong. `executables` maps a program's
    name to its absolute path (absent: not found). `busy_ports` maps a listening TCP port to the process that holds it
    (`nginx (pid 812)`; "" where it cannot be told), ours excluded. `secret_fingerprints` maps a secret's name to the
    keyed digest of the value wanted now (absent: none yet). `engine` is what services run in (None: no containers).
    `dns_targets` has what was detected for each view of DNS that is kept; a view that is absent has no records.
    """

    owner: str = "0:0"
    cpus: int = 0
    memory_bytes: int = 0
    disk_free_bytes: int = 0
    executables: Mapping[str, str] = field(default_factory=dict)
    busy_ports: Mapping[int, str] = field(default_factory=dict)
    certificates: Mapping[str, CertificateFacts] = field(default_factory=dict)
    secret_fingerprints: Mapping[str, str] = field(default_factory=dict)
    engine: EngineFacts | None = None
    dns_targets: Mapping[View, Targets] = field(default_factory=dict)
