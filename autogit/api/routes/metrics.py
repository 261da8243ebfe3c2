"""What AutoGit itself tells Prometheus; not for those who come through the ingress."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from autogit.api.deps import get_paths
from autogit.operations.mirror_metrics import CONTENT_TYPE, metrics_text
from autogit.providers.base import utc_now

router = APIRouter(include_in_schema=False)
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""What an ingress adds, and no client can take away."""


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Return metrics in Prometheus' text form; names of private repositories are among them.

    It needs no sound `.env`: what watches over the platform must not go blind with it.
    """
    if any(name in request.headers for name in _FORWARDED):
        return Response(status_code=404)
    return Response(metrics_text(get_paths(), utc_now()), media_type=CONTENT_TYPE)
