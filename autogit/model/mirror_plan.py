"""What mirrors are called in the one plan; by itself, so that a plan without them loads nothing of theirs."""

from __future__ import annotations

MIRROR = "mirror"
"""The kind of what is declared in mirrors.yml: `mirror/<name>`."""
