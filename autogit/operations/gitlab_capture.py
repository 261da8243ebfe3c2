"""What GitLab keeps in its container and no backup of its own holds: gitlab-secrets.json and the SSH host keys."""

from __future__ import annotations

import json
import re

from autogit.connectors.gitlab_rails import Execute
from autogit.errors import RejectedError
from autogit.operations.gitlab_access import StoreKeeper

_FOLDER = "/etc/gitlab"
_SECRETS_FILE = "gitlab-secrets.json"
_FILE = re.compile(r"gitlab-secrets\.json|ssh_host_[a-z0-9]+_key(\.pub)?")
_KEY_BEGINS = (b"-----BEGIN ", b"ssh-", b"ecdsa-", b"sk-")


async def capture(execute: Execute, keeper: StoreKeeper) -> tuple[str, ...]:
    """Read those files into the secret store; return the names of the secrets that changed.

    A restore without them loses two-factor sign-in, CI variables and tokens, and git clients warn of another host.
    Raises RejectedError where a file is not what it should be: the former secret stays.
    """
    listed = (await execute(("ls", "-1", _FOLDER), b"")).decode("utf-8", "replace").split()
    names = sorted(name for name in listed if _FILE.fullmatch(name))
    if _SECRETS_FILE not in names:
        raise RejectedError(f"gitlab: there is no {_SECRETS_FILE} in {_FOLDER} yet", hint="autogit gitlab bootstrap")
    changed = []
    for name in names:
        data = await execute(("cat", f"{_FOLDER}/{name}"), b"")
        if not _is_sound(name, data):
            raise RejectedError(f"gitlab: {_FOLDER}/{name} is damaged, or being written", hint="try again")
        secret, value = secret_name(name), data.decode()
        if keeper.get(secret) != value:
            keeper.put(secret, value)
            changed.append(secret)
    return tuple(changed)


def secret_name(file: str) -> str:
    """Return the name of the secret that a file is kept as: gitlab_secrets_json, gitlab_ssh_host_ed25519_key, ..."""
    words = re.sub(r"[^a-z0-9]", "_", file)
    return words if words.startswith("gitlab_") else f"gitlab_{words}"


def _is_sound(name: str, data: bytes) -> bool:
    if name != _SECRETS_FILE:
        return data.startswith(_KEY_BEGINS) and data.endswith(b"\n")
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False
