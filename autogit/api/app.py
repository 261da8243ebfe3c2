"""The FastAPI application: its routes, and the one place where errors become problem details."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from autogit import __version__
from autogit.api.routes import health, security, services
from autogit.errors import AutogitError

_PROBLEM = "application/problem+json"


def create_app() -> FastAPI:
    """Return the application; the project is named by AUTOGIT_PROJECT_DIR and AUTOGIT_ENV_FILE.

    No interactive documentation is served: its pages load scripts from elsewhere. The description is at
    /openapi.json.
    """
    app = FastAPI(title="AutoGit Platform API", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(health.router)
    app.include_router(services.router)
    app.include_router(security.router)
    app.add_exception_handler(AutogitError, _problem)
    app.middleware("http")(_never_cached)
    return app


async def _problem(_request: Request, exc: Exception) -> JSONResponse:
    """Return RFC 9457 problem details; the code is the same as on the command line.

    Whoever asks has shown no credential: which lines of which file are wrong is for the command line to say.
    """
    error = exc if isinstance(exc, AutogitError) else AutogitError("unexpected")
    body = {
        "type": f"urn:autogit:error:{error.code}",
        "title": error.code,
        "status": error.http_status,
        "detail": error.message,
        "hint": error.hint,
    }
    return JSONResponse(body, status_code=error.http_status, media_type=_PROBLEM)


async def _never_cached(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await answer(request)
    response.headers["Cache-Control"] = "no-store"
    return response
