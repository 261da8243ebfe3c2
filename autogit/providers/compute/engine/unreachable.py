"""Why an engine is not reached, in a reader's words: its socket, the way over the network, certificates, ssh."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from autogit.errors import AutogitError, RejectedError, UnavailableError

_TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
_CERTIFICATES = f"DOCKER_CERT_PATH is the folder of {', '.join(_TLS_FILES)}, all three of that engine's authority"
_SSH = "ssh USER@HOST docker version must work without a question"


class _Cause(NamedTuple):
    """What is said, what that means, and a way out."""

    said: str
    meaning: str
    hint: str = ""


_CAUSES = (
    _Cause("mismatch, certificate is not valid", "its certificate is for another name or address", _CERTIFICATES),
    _Cause("CERTIFICATE_VERIFY_FAILED", "its certificate is not of the authority in ca.pem", _CERTIFICATES),
    _Cause("KEY_VALUES_MISMATCH", "key.pem does not belong to cert.pem", _CERTIFICATES),
    _Cause("PEM lib|NO_CERTIFICATE", "ca.pem, cert.pem or key.pem is damaged", _CERTIFICATES),
    _Cause("WRONG_VERSION_NUMBER", "it speaks no TLS, which DOCKER_CERT_PATH asks for"),
    _Cause("HTTP request to an HTTPS server", "it speaks TLS", _CERTIFICATES),
    _Cause(r"\[SSL|SSLEOFError", "it does not take the certificate in cert.pem", _CERTIFICATES),
    _Cause("Failed to resolve|Name or service not known", "there is no host of that name"),
    _Cause("known_hosts|Host key", "its host key is not the one that ssh knows", _SSH),
    _Cause("[Aa]uthentication|encrypted|passphrase", "ssh does not let us in", _SSH),
    _Cause("refused|Unable to connect to port", "it refused the connection"),
)
"""The first that fits counts (OpenSSL, urllib3, paramiko)."""


def unreachable(host: str, exc: BaseException) -> AutogitError:
    """Return the error of an engine that is not reached, or that was lost."""
    words = f"{type(exc).__name__} {exc} {exc.__cause__ or ''} {exc.__context__ or ''}"
    if "Credentials store error" in words or "InvalidConfigFile" in words:
        return bad_logins(words)
    if known := _of_the_setting(host, words) or _of_the_socket(host, words):
        return known
    if "timed out" in words.lower():
        return UnavailableError(f"docker: the engine at {host} did not answer in time", hint=_usual(host))
    cause = next((c for c in _CAUSES if re.search(c.said, words)), _Cause("", "the connection broke"))
    return UnavailableError(
        f"docker: the engine at {host} does not answer: {cause.meaning}", hint=cause.hint or _usual(host)
    )


def _of_the_setting(host: str, words: str) -> AutogitError | None:
    if "Install paramiko" in words:
        return UnavailableError(
            "docker: DOCKER_HOST=ssh:// needs the package paramiko", hint="pip install 'autogit[ssh]'"
        )
    if "Invalid bind address" in words:
        return UnavailableError(
            f"docker: DOCKER_HOST={host} is no address", hint="unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST"
        )
    return None


def _of_the_socket(host: str, words: str) -> AutogitError | None:
    if "PermissionError" in words or "Permission denied" in words:
        who = os.environ.get("USER") or f"user {os.getuid()}"
        return UnavailableError(
            f"docker: {who} may not use the engine at {host}",
            hint=f"sudo usermod -aG docker {who}, log in again (this group is as good as root)",
        )
    if "FileNotFoundError" in words or "No such file" in words:
        return UnavailableError(
            f"docker: there is no engine at {host}",
            hint="start it (systemctl start docker), set DOCKER_HOST, or RUNTIME=embedded",
        )
    return None


def bad_logins(said: str = "") -> RejectedError:
    """Return the error of logins that the SDK cannot read; `said` may name a program that keeps them."""
    program = re.search(r"docker-credential-[\w.-]+", said)
    why = f"{program[0]} is missing or failed" if program else "it is damaged"
    return RejectedError(
        f"docker: logins cannot be read from ~/.docker/config.json: {why}",
        hint="mend that file; without a word on the registry in it, images are pulled without a login",
    )


def tls_files(folder: str) -> tuple[str, ...]:
    """Return the paths of authority, certificate and key. Raises UnavailableError naming what is not there."""
    paths = tuple(Path(folder, name) for name in _TLS_FILES)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise UnavailableError(f"docker: DOCKER_CERT_PATH={folder} has no {', '.join(missing)}", hint=_CERTIFICATES)
    return tuple(map(str, paths))


def _usual(host: str) -> str:
    if host.startswith("unix://"):
        return "systemctl status docker"
    return _SSH if host.startswith("ssh://") else "systemctl status docker, on its machine"
