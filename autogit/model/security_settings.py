"""The settings of the prompt-injection filter and of its quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

from autogit.model.security import DEFAULT_SOURCE, FilterMode, SecurityPolicy, Thresholds
from autogit.model.setting_values import in_group, mode_by_service, thresholds_by_source


class SecuritySettings(BaseSettings):
    """What `.env` says about texts that may hold prompt injection; a part of `Settings`."""

    security_thresholds: Annotated[Mapping[str, Thresholds], BeforeValidator(thresholds_by_source)] = Field(
        default_factory=lambda: {DEFAULT_SOURCE: Thresholds()},
        description="Risk scores from which on a text is flagged, quarantined, blocked, for each source of texts: "
        "SOURCE:FLAG/QUARANTINE/BLOCK, separated by commas; default holds for all others",
        json_schema_extra=in_group("Security", "default:0.5/0.7/0.9,log:0.6/0.8/0.95"),
    )
    security_classifier: bool = Field(
        False,
        description="Whether the filter also asks its statistical model, which only ever adds to a score",
        json_schema_extra=in_group("Security"),
    )
    quarantine_days: int = Field(
        90, ge=1, le=3650, description="Days that a quarantined text is kept", json_schema_extra=in_group("Security")
    )
    quarantine_max_mb: int = Field(
        256,
        ge=1,
        le=1024 * 1024,
        description="Megabytes that the quarantine may take up; the oldest that were decided on go first",
        json_schema_extra=in_group("Security"),
    )
    prompt_filter: FilterMode = Field(
        "monitor",
        description="How far the ingress goes with texts that look like prompt injection, where the service "
        "prompt-filter is enabled: off, monitor (they pass, with a header), quarantine (they are held back), block "
        "(the worst are refused)",
        json_schema_extra=in_group("Security"),
    )
    prompt_filter_services: Annotated[Mapping[str, FilterMode], BeforeValidator(mode_by_service)] = Field(
        default_factory=dict,
        description="The same for single services: SERVICE:MODE, separated by commas",
        json_schema_extra=in_group("Security", "gitlab:quarantine,grafana:off"),
    )
    prompt_filter_fail: Literal["open", "closed"] = Field(
        "closed",
        description="What becomes of a text that cannot be judged (filter down, busy, too slow): open lets it pass, "
        "closed answers 503; where only monitored, it passes",
        json_schema_extra=in_group("Security"),
    )
    prompt_filter_max_body_bytes: int = Field(
        1048576,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Largest text that a filtered route takes, in bytes, decompressed too; above it the answer is 413",
        json_schema_extra=in_group("Security"),
    )
    prompt_filter_timeout_ms: int = Field(
        2000,
        ge=50,
        le=60000,
        description="How long the ingress waits for the filter, in milliseconds",
        json_schema_extra=in_group("Security"),
    )

    @property
    def security_policy(self) -> SecurityPolicy:
        """Which thresholds hold for which source of texts."""
        return SecurityPolicy(self.security_thresholds)

    def filter_mode(self, service: str) -> FilterMode:
        """Return how far the ingress goes with texts for a service."""
        return self.prompt_filter_services.get(service, self.prompt_filter)
