"""Which image a service runs: what `.env` says, else what the lockfile holds, else what the catalogue names; pure.

`up` never moves a version by itself. The first `up` takes the catalogue's reference and writes down the image that its
tag led to; from then on that image is the wish, whatever the catalogue or the tag says later. A new version is taken
where somebody asked for one:

| what is asked | reference | id |
|---|---|---|
| `IMAGE_<SERVICE>` in `.env` | the setting's | the locked one, if it was locked for this reference |
| `autogit deploy SERVICE --image` | the given one, locked as `deploy` | what the engine has for it |
| `autogit upgrade` (its lock entry is released) | the catalogue's | what the engine has for it now |
| nothing | the locked one, else the catalogue's | the locked one, else what the engine has |

What a setting asked for is not held to once the setting is gone: the catalogue's counts again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from autogit.core.upgrades import check_jump, load_upgrade_path
from autogit.model.container import ImageSpec
from autogit.model.host import EngineFacts
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Note, Plan
from autogit.model.resource import Address
from autogit.model.service import ServiceDescriptor
from autogit.model.settings import Settings
from autogit.model.spec import PlatformSpec, ServiceSpec

KIND = "image"
SETTING = "setting"
DEPLOYED = "deploy"
CATALOGUE = "catalogue"


def image_setting(service: str) -> str:
    """Return the `.env` key that overrides a service's image."""
    return f"IMAGE_{service.upper().replace('-', '_')}"


Relock = Callable[[Lockfile], Lockfile]
"""Changes which images a plan is held to; the lockfile itself moves only with what is applied."""


def keep_locks(lockfile: Lockfile) -> Lockfile:
    """Hold to what is locked."""
    return lockfile


def release(services: Collection[str]) -> Relock:
    """Return a plan's view of the lockfile in which these services are held to no image."""

    def relock(lockfile: Lockfile) -> Lockfile:
        gone = {Address(KIND, service) for service in services}
        return replace(lockfile, entries={a: e for a, e in lockfile.entries.items() if a not in gone})

    return relock


def deploy(service: str, reference: str) -> Relock:
    """Return a plan's view of the lockfile in which a service is held to a given reference."""

    def relock(lockfile: Lockfile) -> Lockfile:
        address = Address(KIND, service)
        entry = LockEntry(address, {"reference": reference, "origin": DEPLOYED})
        return replace(lockfile, entries={**lockfile.entries, address: entry})

    return relock


def check_upgrades(spec: PlatformSpec, lockfile: Lockfile, services: Collection[str]) -> None:
    """Raise UnsupportedError where one of these is wished to run from an image that its data cannot go to at once."""
    for service in spec.running:
        entry = lockfile.find(Address(KIND, service.name))
        path = service.entry.folder / "upgrade-path.yml"
        former = str(entry.attributes.get("reference") or "") if entry else ""
        moves = service.image and former and former != service.image.reference
        if service.image and moves and service.name in services and path.exists():
            origin = f"{service.entry.origin}/{path.name}"
            known = load_upgrade_path(path.read_text(encoding="utf-8"), origin)
            check_jump(known, service.name, former, service.image.reference)


def moved_services(plan: Plan) -> frozenset[str]:
    """Return the services whose container a plan would make from another image."""
    return frozenset(
        change.address.name
        for change in plan.pending
        if change.address.kind == "container" and {"image", "image_id"} & {field.name for field in change.fields}
    )


def build_image(
    descriptor: ServiceDescriptor, settings: Settings, engine: EngineFacts | None, lockfile: Lockfile
) -> ImageSpec | None:
    """Return the image that a service is wished to run from, None for a service without a container form."""
    run = descriptor.runs.container
    if run is None or descriptor.image is None:
        return None
    entry = lockfile.find(Address(KIND, descriptor.service))
    reference, origin = _reference(descriptor, settings, entry)
    images = engine.images if engine else {}
    if run.local_image and origin == CATALOGUE:
        return _built_here(reference, engine)
    locked = _locked(entry, reference)
    if locked["id"]:
        return ImageSpec(reference, origin, id=locked["id"], digest=locked["digest"])
    known = images.get(reference)
    if known is None:
        return ImageSpec(reference, origin)
    return ImageSpec(reference, origin, id=known.id, digest=known.digest_of(reference))


def image_notes(services: Iterable[ServiceSpec], engine: EngineFacts) -> Iterator[Note]:
    """Tell of versions that nobody has asked for yet: the catalogue names another one, or a tag has moved on."""
    newer: dict[str, str] = {}
    for service in services:
        image, named = service.image, service.descriptor.image
        if image is None or image.local:
            continue
        now = engine.images.get(image.reference)
        if image.origin == CATALOGUE and named and named != image.reference:
            newer[service.name] = named
        elif image.id and now and now.id != image.id:
            words = f"{image.reference} is another image by now: autogit upgrade {service.name} takes it"
            yield Note("info", service.name, words)
    if newer:
        words = f"the catalogue names {', '.join(newer.values())} by now: autogit upgrade takes what it names"
        yield Note("info", ", ".join(newer), words)


def _reference(descriptor: ServiceDescriptor, settings: Settings, entry: LockEntry | None) -> tuple[str, str]:
    override = settings.image_overrides.get(descriptor.service)
    if override:
        return override, SETTING
    run = descriptor.runs.container
    locked = dict(entry.attributes) if entry else {}
    if locked.get("origin") == DEPLOYED or (locked.get("origin") == CATALOGUE and run and not run.local_image):
        return str(locked["reference"]), str(locked["origin"])
    return descriptor.image or "", CATALOGUE


def _locked(entry: LockEntry | None, reference: str) -> dict[str, str]:
    """Return id and digest that the lockfile holds for a reference; a begun change has none yet."""
    attributes = dict(entry.attributes) if entry else {}
    same = attributes.get("reference") == reference
    return {name: str(attributes.get(name) or "") if same else "" for name in ("id", "digest")}


def _built_here(reference: str, engine: EngineFacts | None) -> ImageSpec:
    content = engine.content if engine else ""
    known = engine.images.get(reference) if engine else None
    good = known is not None and bool(content) and known.content == content
    return ImageSpec(reference, CATALOGUE, id=known.id if known and good else "", content=content, local=True)
