"""Services: GET /api/v1/services, the specification's ServiceList."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import RootModel

from autogit.api.deps import OpenProject
from autogit.model.views import Service
from autogit.operations.status import list_services

router = APIRouter(prefix="/api/v1", tags=["services"])


class ServiceList(RootModel[tuple[Service, ...]]):
    """Every service of the platform, as `autogit services list --format json` prints it."""


@router.get("/services", summary="List all services")
async def get_services(project: OpenProject) -> ServiceList:
    """Return every service with its status and ports."""
    return ServiceList(await list_services(project))
