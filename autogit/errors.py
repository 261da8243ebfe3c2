"""Every exception class of AutoGit: a stable code, a sentence with a place, and a way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class Fault(NamedTuple):
    """One thing that is wrong, at one place.

    `place` is what the reader must open (`.env line 5`, `overrides/services/x/service.yml line 3`), `subject` the key
    or name concerned, `message` one sentence. None of them may carry a value that could be secret.
    """

    place: str
    subject: str
    message: str


class AutogitError(Exception):
    """Base of every error that AutoGit raises on purpose.

    Class attributes are the contract of a kind of fault: `code` (kebab-case, one page in docs/reference/errors.md),
    `exit_code` (design.md section 6), `http_status` (RFC 9457 problem details in the API), `retryable`.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, hint: str = "", context: Sequence[str] = (), faults: Sequence[Fault] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = tuple(context)
        self.faults = tuple(faults)


class UsageError(AutogitError):
    """The command line asks for something that cannot be: an unknown service, options that exclude each other."""

    code = "usage"
    exit_code = 2
    http_status = 400


class NotInitialisedError(UsageError):
    """There is no `.env` in the project directory."""

    code = "not-initialised"


class BodyTooLargeError(UsageError):
    """The body of a request is larger than PROMPT_FILTER_MAX_BODY_BYTES."""

    code = "body-too-large"
    http_status = 413


class SettingsError(AutogitError):
    """The `.env` file has faults; all of them are listed at once."""

    code = "settings"
    exit_code = 2
    http_status = 422


class CatalogueError(AutogitError):
    """The service folders (built in or under overrides/) do not form a catalogue."""

    code = "catalogue"
    exit_code = 2


class DescriptorError(CatalogueError):
    """A service.yml has faults: unknown keys, wrong types, broken YAML."""

    code = "descriptor"


class DependencyCycleError(CatalogueError):
    """Services depend on each other in a circle."""

    code = "dependency-cycle"


class RenderError(AutogitError):
    """A template could not be rendered; names file and line."""

    code = "render"
    exit_code = 2


class PortTakenError(AutogitError):
    """A wanted host port is in use by another process."""

    code = "port-taken"
    exit_code = 2
    http_status = 409


class HostTooSmallError(AutogitError):
    """The chosen tier needs more memory than this host has."""

    code = "host-too-small"
    exit_code = 2
    http_status = 409


class ProviderError(AutogitError):
    """A provider failed; the message starts with the provider's name."""

    code = "provider"
    http_status = 502


class UnavailableError(ProviderError):
    """The provider's backend does not answer right now."""

    code = "unavailable"
    http_status = 503
    retryable = True


class RateLimitedError(UnavailableError):
    """The backend wants to be asked again later; `retry_after_seconds` is 0 where it did not say when."""

    code = "rate-limited"
    http_status = 429

    def __init__(self, message: str, *, retry_after_seconds: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class ProviderAuthError(ProviderError):
    """The backend does not take the credentials, or they lack a right."""

    code = "provider-auth"


class RejectedError(ProviderError):
    """The backend understood and refused."""

    code = "rejected"


class MissingError(RejectedError):
    """The backend has no such object."""

    code = "missing"
    http_status = 404


class GoneError(ProviderError):
    """A mirror's source is not there any more, or is not shown to this credential; its copy stays as it is."""

    code = "source-gone"
    http_status = 410


class NotValidatedError(RejectedError):
    """A certificate authority looked for the proof of a name and did not find it."""

    code = "not-validated"


class UnsupportedError(ProviderError):
    """The provider cannot hold what is wished for; never a silent drop."""

    code = "unsupported"
    exit_code = 2
    http_status = 422


class SecretStoreError(ProviderError):
    """The age-encrypted secret store or its identity is missing, damaged or does not fit."""

    code = "secret-store"


class CertificateError(ProviderError):
    """A certificate or the local CA cannot be used or made."""

    code = "certificate"


class PlanError(AutogitError):
    """A plan cannot be made or may not be applied."""

    code = "plan"
    http_status = 409


class UnsafePlanError(PlanError):
    """The plan deletes more than allowed, or loses data, without each address being named."""

    code = "unsafe-plan"


class StalePlanError(PlanError):
    """The saved plan is not the plan of this moment: something changed since it was reviewed."""

    code = "stale-plan"


class OwnershipError(PlanError):
    """The plan touches something that AutoGit did not make."""

    code = "ownership"


class BlockedError(PlanError):
    """Something stands in the way of the plan; all of it is listed, nothing was changed."""

    code = "blocked"
    exit_code = 2


class ApplyError(AutogitError):
    """Applying a plan failed."""

    code = "apply"


class PartialApplyError(ApplyError):
    """Some changes were applied, some failed; each is named, the next `up` goes on from there."""

    code = "partly-applied"
    exit_code = 4


class NotReadyError(ApplyError):
    """A service did not become ready within its budget."""

    code = "not-ready"
    exit_code = 4


class StorageFullError(ApplyError):
    """A file could not be written (disk full, no permission); what was there before is intact."""

    code = "storage"


class LockfileError(AutogitError):
    """The lockfile cannot be used."""

    code = "lockfile"


class LockfileCorruptError(LockfileError):
    """The lockfile is truncated, garbage, or was edited by hand."""

    code = "lockfile-corrupt"


class LockfileTooNewError(LockfileError):
    """The lockfile was written by a newer AutoGit."""

    code = "lockfile-too-new"


class MirrorRecordsError(AutogitError):
    """What is known of the mirrors cannot be read or written; the copies themselves are untouched."""

    code = "mirror-records"


class QuarantineError(AutogitError):
    """The quarantine cannot be used, or a text in it cannot be opened."""

    code = "quarantine"


class QuarantineDamagedError(QuarantineError):
    """The quarantine's database is damaged or holds something else."""

    code = "quarantine-damaged"


class QuarantineTooNewError(QuarantineError):
    """The quarantine's database was written by a newer AutoGit."""

    code = "quarantine-too-new"


class QuarantineFullError(QuarantineError):
    """The quarantine is at its size limit and holds nothing that was decided on; what is pending is never dropped."""

    code = "quarantine-full"
    http_status = 503


class QuarantineBusyError(QuarantineError):
    """Other processes kept the quarantine's database locked for too long."""

    code = "quarantine-busy"
    http_status = 503
    retryable = True


class ApplyLockHeldError(AutogitError):
    """Another AutoGit process is changing this project."""

    code = "lock-held"
    exit_code = 5
    http_status = 409
    retryable = True


class StoppedError(AutogitError):
    """The command was stopped by Ctrl-C; what had landed is recorded, the next `up` goes on from there."""

    code = "stopped"
    exit_code = 130


class NotConfirmedError(AutogitError):
    """The question was answered with no; nothing was changed."""

    code = "not-confirmed"
