"""The FastAPI application: its routes, and the one place where errors become problem details."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autogit import __version__
from autogit.api.git_answer import Turns
from autogit.api.routes import git, health, metrics, security, services
from autogit.errors import AutogitError

_PROBLEM = "application/problem+json"


def create_app() -> FastAPI:
    """Return the application; the project is named by AUTOGIT_PROJECT_DIR and AUTOGIT_ENV_FILE.

    No interactive documentation is served: its pages load scripts from elsewhere. The description is at
    /openapi.json.
    """
    app = FastAPI(title="AutoGit Platform API", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(services.router)
    app.include_router(security.router)
    app.include_router(git.router)
    app.state.git_turns = Turns()
    app.add_exception_handler(AutogitError, _problem)
    app.add_middleware(_NeverCached)
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


class _NeverCached:
    """Marks every answer as one that nobody keeps; it hands requests and answers on as they come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, marked)
