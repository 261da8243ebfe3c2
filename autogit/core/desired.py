"""The desired resources of a platform: what the spec and the rendered tree ask for, as comparable attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict

from autogit.model.resource import Address, Resource, Value, digest
from autogit.model.service import OnChange
from autogit.model.spec import PlatformSpec, ProcessPayload, RenderedTree, SecretSpec, ServiceSpec

_NO_REPLACE: frozenset[str] = frozenset()


def desired_resources(spec: PlatformSpec, tree: RenderedTree) -> list[Resource]:
    """Return every resource the platform wants, in no particular order; pure."""
    return [
        *(_secret(secret) for service in spec.running for secret in service.secrets),
        _certificate(spec),
        *_files(spec, tree),
        *(_process(service, spec, tree) for service in spec.running if service.program),
    ]


def _secret(secret: SecretSpec) -> Resource:
    source = "generated" if secret.given is None else "given"
    attributes: dict[str, Value] = {"source": source, "version": secret.version, "file": secret.file}
    if secret.given is not None and secret.fingerprint:
        attributes["fingerprint"] = secret.fingerprint
    return Resource(Address("secret", secret.name), attributes, payload=secret)


def _certificate(spec: PlatformSpec) -> Resource:
    wanted = spec.certificate
    return Resource(
        Address("certificate", wanted.name),
        {
            "issuer": wanted.issuer,
            "names": wanted.names,
            "key_type": wanted.key_type,
            "lifetime_days": wanted.lifetime_days,
            "version": wanted.version,
        },
        payload=wanted,
    )


def _files(spec: PlatformSpec, tree: RenderedTree) -> Iterator[Resource]:
    certificate = Address("certificate", spec.certificate.name)
    secrets = [secret for service in spec.running for secret in service.secrets if secret.file]
    for path, file in tree.files.items():
        # What a file names must be there before anything reads the file: the certificate, and files of secrets.
        named = tuple(Address("secret", secret.name) for secret in secrets if secret.file in file.text)
        yield Resource(
            Address("file", path),
            {"sha256": hashlib.sha256(file.text.encode()).hexdigest(), "mode": "0644"},
            depends_on=(certificate, *named),
            payload=file.text,
            user_editable=True,
        )


def _process(service: ServiceSpec, spec: PlatformSpec, tree: RenderedTree) -> Resource:
    program = service.program
    if program is None:  # pragma: no cover - the caller filters
        raise ValueError(service.name)
    own = {path: file for path, file in tree.files.items() if file.service == service.name}
    restart = tuple(path for path, file in own.items() if file.on_change == OnChange.RESTART)
    reload = tuple(path for path, file in own.items() if file.on_change == OnChange.RELOAD)
    running = {s.name for s in spec.running}
    return Resource(
        Address("process", service.name),
        {
            **program.attributes,
            "program": digest([asdict(program), {p: own[p].text for p in restart}])[:12],
            "reload": digest({p: own[p].text for p in reload})[:12] if reload else "",
            "state": "running",
        },
        depends_on=(
            Address("certificate", spec.certificate.name),
            *(Address("secret", s.name) for s in service.secrets),
            *(Address("file", path) for path in own),
            *(Address("process", name) for name in service.descriptor.dependencies if name in running),
        ),
        payload=ProcessPayload(program, tuple(Address("file", path) for path in restart)),
        replace_on=frozenset({"program", "command", "environment"}),
    )
