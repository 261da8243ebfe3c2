"""Copies of mirrored repositories over git's smart HTTP, read-only: code that can be had when GitLab is down."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from autogit.api.access import is_allowed
from autogit.api.deps import get_paths
from autogit.api.git_answer import GitAnswer, Turns, refusal
from autogit.errors import AutogitError, MissingError, RejectedError
from autogit.operations.copies import find_copy
from autogit.providers.git.upload_pack import UploadPack

router = APIRouter(prefix="/git", tags=["git"])

_FETCH, _PUSH = "git-upload-pack", "git-receive-pack"
_HEAD = b"001e# service=git-upload-pack\n0000"
_REFUSED = "copies are read-only: they follow their source, so push there"
_DUMB = "this is served to git by its smart protocol only"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="AutoGit copies", charset="UTF-8"'}
_NO_TOKEN = "the password is API_TOKEN, the user's name anything"  # noqa: S105 - a sentence
_NOT_PACKED = frozenset({"", "identity"})
_FORBIDDEN, _UNAUTHORIZED, _WRONG_TYPE = 403, 401, 415


@router.get("/{rule}/{path:path}.git/info/refs", summary="List a copy's refs for git")
async def get_refs(request: Request, rule: str, path: str, service: str = "") -> Response:
    """Advertise what a copy holds (protocol versions 0 to 2)."""
    if (refused := _refused(request, service)) is not None:
        return refused
    try:
        folder = await asyncio.to_thread(find_copy, get_paths(), rule, path)
    except AutogitError as exc:
        return refusal(exc)
    git = UploadPack(folder, protocol=request.headers.get("git-protocol", ""), advertise=True)
    head = b"" if git.is_version_2 else _HEAD
    return GitAnswer(git, _turns(request), f"application/x-{_FETCH}-advertisement", head=head)


@router.post("/{rule}/{path:path}.git/git-upload-pack", summary="Send a pack of a copy to git")
async def post_upload_pack(request: Request, rule: str, path: str) -> Response:
    """Send what a client lacks."""
    if (refused := _refused(request, _FETCH)) is not None:
        return refused
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if request.headers.get("content-type") != f"application/x-{_FETCH}-request" or encoding not in {
        *_NOT_PACKED,
        "gzip",
        "x-gzip",
    }:
        return refusal(RejectedError(_DUMB), _WRONG_TYPE)
    try:
        folder = await asyncio.to_thread(find_copy, get_paths(), rule, path)
    except AutogitError as exc:
        return refusal(exc)
    git = UploadPack(folder, protocol=request.headers.get("git-protocol", ""))
    return GitAnswer(git, _turns(request), f"application/x-{_FETCH}-result", packed=encoding not in _NOT_PACKED)


@router.post("/{rule}/{path:path}.git/git-receive-pack", summary="Refuse a push")
async def post_receive_pack(request: Request, rule: str, path: str) -> Response:
    """Refuse: copies are read-only."""
    del rule, path
    return _refused(request, _PUSH) or refusal(RejectedError(_REFUSED), _FORBIDDEN)


@router.get("/{path:path}", include_in_schema=False)
async def get_other(request: Request, path: str) -> Response:
    """Answer whatever else git or a person asks for, files of the dumb protocol above all."""
    del path
    return _refused(request, _FETCH) or refusal(MissingError(_DUMB))


def _refused(request: Request, service: str) -> Response | None:
    """Return why a request is not answered, None where it is: who asks comes first, what for second."""
    if not is_allowed(request.headers.get("authorization", "")):
        error = RejectedError("the API's token is needed", hint=_NO_TOKEN)
        return refusal(error, _UNAUTHORIZED, _CHALLENGE)
    if service != _FETCH:
        return refusal(RejectedError(_REFUSED if service == _PUSH else _DUMB), _FORBIDDEN)
    return None


def _turns(request: Request) -> Turns:
    turns: Turns = request.app.state.git_turns
    return turns
