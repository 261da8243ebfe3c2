"""Health of the API itself: alive, and able to answer."""

from __future__ import annotations

from fastapi import APIRouter

from autogit.api.deps import OpenProject

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process is alive."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(project: OpenProject) -> dict[str, str]:
    """Say that settings, catalogue and lockfile can be read."""
    project.store.load()
    return {"status": "ready"}
