"""Where the files of an installation lie (design.md section 3): names only, nothing is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProjectPaths:
    """The paths of one project, all below `root` (absolute) but `.env`, which `--env-file` may move."""

    root: Path
    env_file: Path

    @property
    def overrides(self) -> Path:
        """A user's own service folders (`services/`) and files (`files/`) that win over the built-in ones."""
        return self.root / "overrides"

    @property
    def lockfile(self) -> Path:
        """The state that may be committed."""
        return self.root / "autogit.lock.json"

    @property
    def state(self) -> Path:
        """Everything AutoGit keeps beside the lockfile (mode 0700)."""
        return self.root / ".autogit"

    @property
    def rendered(self) -> Path:
        """Rendered configuration, exactly as applied."""
        return self.state / "rendered"

    @property
    def previous(self) -> Path:
        """The former bytes of rendered files, kept until the next change, for going back."""
        return self.state / "previous"

    @property
    def secrets_store(self) -> Path:
        """The age-encrypted store."""
        return self.state / "secrets.age"

    @property
    def secrets(self) -> Path:
        """One file a secret (0600), only for those that a service must read."""
        return self.state / "secrets"

    @property
    def passwords(self) -> Path:
        """Password files (htpasswd) of routes: a folder of its own, so that the ingress can be given it whole."""
        return self.secrets / "htpasswd"

    @property
    def certs(self) -> Path:
        """`local-ca/` and one folder a certificate, with `v<N>/` inside."""
        return self.state / "certs"

    def local_root(self, domain: str) -> Path:
        """Return the certificate of the local authority of a domain; it stays when leafs are renewed."""
        return self.certs / "local-ca" / domain / "root.pem"

    @property
    def acme_challenges(self) -> Path:
        """The answers to http-01 challenges that are being asked, for an ingress that serves files (0755)."""
        return self.state / "acme-challenges"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.state / "logs"

    @property
    def data(self) -> Path:
        """One folder a service: what a container would keep in a volume."""
        return self.state / "data"

    @property
    def supervisor(self) -> Path:
        """The embedded runtime's supervisor: configuration, pid file, socket (mode 0700)."""
        return self.state / "supervisor"

    @property
    def apply_lock(self) -> Path:
        """The mutex of everything that changes this project."""
        return self.state / "apply.lock"

    @property
    def seal(self) -> Path:
        """What the fast path of a no-op `up` compares with."""
        return self.state / "in-sync.json"

    @property
    def healths(self) -> Path:
        """What healing remembers of each service."""
        return self.state / "health.json"

    @property
    def addresses(self) -> Path:
        """The addresses that were found for DNS names, and since when."""
        return self.state / "addresses.json"

    @property
    def heartbeats(self) -> Path:
        """One file a scheduled job: when it ran last, and how that ended."""
        return self.state / "heartbeats"

    @property
    def audit_log(self) -> Path:
        """One JSON line a change that was applied."""
        return self.state / "audit.jsonl"

    @property
    def mirror_rules(self) -> Path:
        """What is mirrored, as the user declares it."""
        return self.root / "mirrors.yml"

    @property
    def mirrors(self) -> Path:
        """Bare copies of repositories, one folder a rule, and what is known of them (mode 0700)."""
        return self.state / "mirrors"

    @property
    def quarantine(self) -> Path:
        """Texts that the prompt-injection filter held back (mode 0700)."""
        return self.state / "quarantine"
