"""Making a system trust the local root: instructions for a person, installation for the system store."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from autogit.errors import CertificateError

STORES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Debian, Ubuntu": ("/usr/local/share/ca-certificates", ("update-ca-certificates",)),
    "Fedora, RHEL": ("/etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract")),
    "Arch": ("/etc/ca-certificates/trust-source/anchors", ("trust", "extract-compat")),
}
"""Where each system keeps roots that an administrator added, and the command that takes them in (its manual page)."""


def trust_instructions(root: Path, base_domain: str) -> tuple[str, ...]:
    """Return the commands, system by system, that make it trust a root file."""
    name = store_name(base_domain)
    lines = [f"The root of {base_domain}: {root}", f"One command:  curl --cacert {root} https://..."]
    for system, (folder, command) in STORES.items():
        lines.append(f"{system}:  sudo cp {root} {folder}/{name} && sudo {' '.join(command)}")
    lines.append(f"macOS:  sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {root}")
    lines.append(f'Chromium (Linux):  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n "{name}" -i {root}')
    lines.append("Firefox:  Settings, Privacy & Security, View Certificates, Authorities, Import")
    lines.append(f"This root can vouch for {base_domain} and names below it, and for nothing else.")
    return tuple(lines)


def install_root(
    root: Path, base_domain: str, *, stores: Mapping[str, tuple[str, tuple[str, ...]]] = STORES
) -> tuple[str, ...]:
    """Put the root into this system's store; return what was done. Raises CertificateError where that cannot be."""
    if not root.is_file():
        raise CertificateError(f"local: there is no root for {base_domain} yet", hint="autogit up makes it")
    for system, (folder, command) in stores.items():
        program = shutil.which(command[0])
        if program and Path(folder).is_dir():
            return _install(root, Path(folder) / store_name(base_domain), (program, *command[1:]), system)
    raise CertificateError(
        "local: no certificate store of a known kind is here", hint="autogit certs trust shows how by hand"
    )


def store_name(base_domain: str) -> str:
    """Return the file name of a root in a system store."""
    return f"autogit-{re.sub(r'[^a-z0-9.-]', '-', base_domain)}.crt"


def _install(root: Path, target: Path, command: tuple[str, ...], system: str) -> tuple[str, ...]:
    try:
        shutil.copyfile(root, target)
        target.chmod(0o644)
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except PermissionError as exc:
        raise CertificateError(
            f"local: {target.parent} needs more rights", hint="sudo autogit certs trust --install"
        ) from exc
    except (OSError, subprocess.SubprocessError) as exc:
        raise CertificateError(
            f"local: {Path(command[0]).name} failed", hint="autogit certs trust shows how by hand"
        ) from exc
    return (f"{system}: {target} installed, {Path(command[0]).name} ran",)
