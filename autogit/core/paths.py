"""Where the templates lie: beside the package in a checkout, inside it in a wheel. Only this module knows."""

from __future__ import annotations

from pathlib import Path


def templates_root() -> Path:
    """Return the folder that holds `services/`."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "templates"
    return checkout if (checkout / "services").is_dir() else package / "_templates"
