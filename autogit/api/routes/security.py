"""Security: POST /api/v1/security/analyze, the specification's AnalyzeRequest and AnalyzeResult."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from autogit.api.deps import OpenProject
from autogit.errors import BodyTooLargeError, UsageError
from autogit.model.analysis import AnalyzeRequest, AnalyzeResult
from autogit.operations.analyze import analyze, parse_request

router = APIRouter(prefix="/api/v1/security", tags=["security"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": AnalyzeRequest.model_json_schema()}},
    }
}


async def limited_body(request: Request, project: OpenProject) -> bytes:
    """Return a request's body. Raises BodyTooLargeError before more than PROMPT_FILTER_MAX_BODY_BYTES are read.

    Raises UsageError for one that is packed.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UsageError("the body is packed", hint="send it without Content-Encoding")
    most = project.settings.prompt_filter_max_body_bytes
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told) > most:
        raise _too_large(most)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


@router.post("/analyze", summary="Analyze text for prompt injection", response_model=AnalyzeResult, openapi_extra=_BODY)
def post_analyze(project: OpenProject, body: Annotated[bytes, Depends(limited_body)]) -> Response:
    """Return what the prompt-injection filter finds in a text; nothing is kept of it."""
    result = analyze(project, parse_request(_json(body)))
    # As ASCII: a lone surrogate is a text too, and only an escape can carry it.
    return Response(json.dumps(result.model_dump(mode="json")), media_type="application/json")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_object)
    except json.JSONDecodeError as exc:
        raise UsageError(f"the body is not valid JSON: {exc.msg} at character {exc.pos}") from exc
    except (ValueError, RecursionError) as exc:  # no text in any Unicode encoding; too deep; a number too long
        raise UsageError(f"the body is not valid JSON ({type(exc).__name__})") from exc


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):  # whoever reads the body next may take the other one
        raise UsageError("the body has a field that stands twice")
    return fields


def _too_large(most: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body is larger than {most} bytes", hint="PROMPT_FILTER_MAX_BODY_BYTES sets the limit"
    )
