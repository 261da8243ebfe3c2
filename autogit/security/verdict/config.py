"""What the verdict service is told by the file that `up` renders for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from autogit.errors import SettingsError
from autogit.model.quarantine import QuarantineLimits
from autogit.model.security import SecurityPolicy, Thresholds
from autogit.model.setting_values import thresholds_by_source


class VerdictConfig(BaseModel):
    """The service's configuration; sizes are bytes, times milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    thresholds: Annotated[dict[str, Thresholds], BeforeValidator(thresholds_by_source)]
    classifier: bool = False
    quarantine: Path
    quarantine_days: int = Field(90, ge=1)
    quarantine_max_mb: int = Field(256, ge=1)
    max_body_bytes: int = Field(1048576, ge=1024)
    timeout_ms: int = Field(2000, ge=1)
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    metrics: Path
    workers: int = Field(2, ge=1, le=64)
    worker_memory_mb: int = Field(256, ge=64, description="A worker that is larger is replaced by a new one")
    waiting: int = Field(64, ge=1, description="Texts that a worker takes on at once; more are told to come again")

    @property
    def policy(self) -> SecurityPolicy:
        """Which thresholds hold for which source of texts."""
        return SecurityPolicy(self.thresholds)

    @property
    def limits(self) -> QuarantineLimits:
        """How long texts are kept, and how much room they have."""
        return QuarantineLimits(self.quarantine_days, self.quarantine_max_mb << 20)


def load_config(path: Path) -> VerdictConfig:
    """Read the file. Raises SettingsError."""
    try:
        return VerdictConfig.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        raise SettingsError(f"{path} cannot be used: {exc}", hint="autogit up") from exc
