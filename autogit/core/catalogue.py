"""The catalogue: every service folder, built in or under overrides/, read and checked as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import TemplateSyntaxError
from pydantic import BaseModel, ValidationError

from autogit.core.templating import file_environment
from autogit.core.yaml_source import YamlSource, read_yaml
from autogit.errors import DependencyCycleError, DescriptorError, Fault, UsageError
from autogit.model.dns import ExtraRecord
from autogit.model.service import CatalogueEntry, ServiceDescriptor
from autogit.model.settings import Settings

_SUFFIX = ".j2"
ROLES = frozenset({"@ingress", "@log-collector"})
"""What a dependency may say instead of a service: the one that a setting chooses."""


@dataclass(frozen=True)
class Catalogue:
    """Every known service by name, sorted; `records` are what the user declares for DNS beside the services' names."""

    entries: Mapping[str, CatalogueEntry]
    records: tuple[ExtraRecord, ...] = ()

    @property
    def descriptors(self) -> tuple[ServiceDescriptor, ...]:
        """Every descriptor, sorted by name."""
        return tuple(entry.descriptor for entry in self.entries.values())

    def find(self, name: str) -> CatalogueEntry | None:
        """Return a service, or None where there is none of that name."""
        return self.entries.get(name)

    def get(self, name: str) -> CatalogueEntry:
        """Return a service. Raises UsageError naming the nearest one."""
        entry = self.entries.get(name)
        if entry is None:
            raise UsageError(
                f"there is no service called {name}{did_you_mean(name, self.entries)}", hint="autogit services list"
            )
        return entry


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `. Did you mean X?` for the nearest known word, "" where nothing is near."""
    near = get_close_matches(word, list(known), n=1)
    return f". Did you mean {near[0]}?" if near else ""


def load_catalogue(roots: Sequence[Path], *, released: Collection[Path] = ()) -> Catalogue:
    """Return the services of all roots; a folder of a later root replaces one of the same name.

    Templates of `released` roots are not parsed here: they were before the release, and are when they are rendered.
    Raises DescriptorError with all faults of all files, and DependencyCycleError.
    """
    folders = {
        folder.name: folder
        for root in roots
        if root.is_dir()
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith((".", "_"))
    }
    faults: list[Fault] = []
    entries = {name: e for name in sorted(folders) if (e := _read_entry(folders[name], faults)) is not None}
    known = set(folders)
    for entry in entries.values():
        faults.extend(_entry_faults(entry, known))
        if entry.folder.parent not in released:
            faults.extend(_template_faults(entry))
    faults.extend(_clashing_settings(entries.values()))
    faults.extend(_clashing_ports(entries.values()))
    if faults:
        raise DescriptorError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in service folders",
            faults=faults,
            hint="docs/how-to/add-a-service.md shows a whole folder",
        )
    _check_circles(entries)
    return Catalogue(entries)


def _read_entry(folder: Path, faults: list[Fault]) -> CatalogueEntry | None:
    origin = shown_folder(folder)
    path = folder / "service.yml"
    try:
        source = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        faults.append(Fault(f"{origin}/service.yml", folder.name, "the folder has no service.yml"))
        return None
    except (OSError, UnicodeDecodeError) as exc:
        faults.append(
            Fault(f"{origin}/service.yml", folder.name, f"cannot be read as UTF-8 text: {type(exc).__name__}")
        )
        return None
    found = [Fault(f"{origin}/service.yml line {line}", folder.name, message) for line, message in source.faults]
    descriptor = None if source.data is None else _validate(source, origin, found)
    faults.extend(found)
    return CatalogueEntry(descriptor=descriptor, folder=folder, origin=origin) if descriptor and not found else None


def shown_folder(folder: Path) -> str:
    """Return how a service folder is shown to a reader: `overrides/services/x`, never an absolute path."""
    return "/".join(folder.parts[-3:])


def _validate(source: YamlSource, origin: str, faults: list[Fault]) -> ServiceDescriptor | None:
    try:
        return ServiceDescriptor.model_validate(source.data)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            place = f"{origin}/service.yml line {source.line_of(tuple(error['loc']))}"
            subject = ".".join(str(part) for part in error["loc"]) or "service.yml"
            faults.append(Fault(place, subject, _sentence(error)))
    return None


def _sentence(error: Any) -> str:
    key = str(error["loc"][-1]) if error["loc"] else ""
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key{did_you_mean(key, _known_keys(error['loc']))}"
        case "missing":
            return "is missing"
        case "model_type" | "dict_type":
            return "must be a mapping of keys to values"
        case "tuple_type" | "list_type":
            return "must be a list"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return (
                str(error["msg"]).removeprefix("Input ").replace("Input should be", "must be").replace("should", "must")
            )


def _known_keys(location: Sequence[str | int]) -> Iterator[str]:
    """Yield the keys of every model on the way: nearest names are worth guessing across levels."""
    del location
    yield from _all_keys(ServiceDescriptor, set())


def _all_keys(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    from autogit.model import service  # noqa: PLC0415 - every model of a descriptor lives there

    for candidate in vars(service).values():
        if isinstance(candidate, type) and issubclass(candidate, service.Strict) and candidate not in seen:
            seen.add(candidate)
            yield from candidate.model_fields
    yield from model.model_fields


def _entry_faults(entry: CatalogueEntry, known: set[str]) -> Iterator[Fault]:
    descriptor, place = entry.descriptor, f"{entry.origin}/service.yml"
    if descriptor.service != entry.folder.name:
        yield Fault(place, "service", f"is {descriptor.service}, but the folder is called {entry.folder.name}")
    for name in sorted(_every_dependency(descriptor) - known - ROLES):
        yield Fault(place, "dependencies", f"there is no service called {name}{did_you_mean(name, known)}")
    for metrics in descriptor.metrics:
        if metrics.port not in descriptor.ports:
            yield Fault(place, "metrics", f"{metrics.port} is not in ports")
        if metrics.when and metrics.when not in _switches(descriptor):
            yield Fault(place, "metrics", f"{metrics.when} is neither a flag among the settings nor a tier value")
    if descriptor.runs.embedded and descriptor.health_port not in descriptor.ports:
        yield Fault(place, "health_port", f"{descriptor.health_port} is not in ports")
    on_host = {name for name, port in descriptor.ports.items() if port.on_host}
    for file in descriptor.config:
        if file.with_port is not None and file.with_port not in on_host:
            yield Fault(place, "config", f"{file.path}: {file.with_port} is not among the ports that are on_host")
    yield from _flag_faults(descriptor, place)
    yield from _route_faults(descriptor, place)
    yield from _container_faults(descriptor, place)


def _switches(descriptor: ServiceDescriptor) -> set[str]:
    flags = {setting.name for setting in descriptor.settings if setting.type == "flag"}
    return flags.union(*(values for values in descriptor.tier_values.values()))


def _flag_faults(descriptor: ServiceDescriptor, place: str) -> Iterator[Fault]:
    flags = {setting.name for setting in descriptor.settings if setting.type == "flag"}
    for route in descriptor.routes:
        if route.when is not None and route.when not in flags:
            yield Fault(place, "routes", f"route {route.name}: {route.when} is not a flag among the settings")
    for setting in descriptor.settings:
        if setting.needs_service is not None and setting.name not in flags:
            yield Fault(place, setting.name, "has needs_service and is not a flag")
        if setting.required_when is not None and setting.required_when not in flags:
            yield Fault(place, setting.name, f"{setting.required_when} is not a flag among the settings")
        if setting.required_with is not None and setting.required_with not in {one.name for one in descriptor.settings}:
            yield Fault(place, setting.name, f"{setting.required_with} is not among the settings")
        if setting.kept and not (setting.secret and setting.file):
            yield Fault(place, setting.name, "is kept and is no secret with a file")


def _route_faults(descriptor: ServiceDescriptor, place: str) -> Iterator[Fault]:
    names = [route.name for route in descriptor.routes]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Fault(place, "routes", f"two routes are called {name}: give one of them another name")
    for route in descriptor.routes:
        if route.port not in descriptor.ports:
            yield Fault(place, "routes", f"route {route.name} leads to the port {route.port}, which is not in ports")


def _container_faults(descriptor: ServiceDescriptor, place: str) -> Iterator[Fault]:
    run = descriptor.runs.container
    if run is None:
        return
    if not descriptor.image:
        yield Fault(place, "image", "is missing: runs.container needs one")
    if not descriptor.sizing:
        yield Fault(place, "sizing", "is missing: a container has limits in every tier")
    own = {setting.name for setting in descriptor.settings}
    for network, setting in run.subnets.items():
        if setting not in own:
            yield Fault(place, "runs.container.subnets", f"{network}: {setting} is not among the settings")


def _template_faults(entry: CatalogueEntry) -> Iterator[Fault]:
    config = entry.folder / "config"
    present = [p.relative_to(config).as_posix() for p in config.rglob("*") if p.is_file()]
    listed = {file.path for file in entry.descriptor.config}
    for path in sorted(listed - {name.removesuffix(_SUFFIX) for name in present}):
        yield Fault(f"{entry.origin}/service.yml", "config", f"{path} has no template config/{path}{_SUFFIX}")
    for name in sorted(present):
        place = f"{entry.origin}/config/{name}"
        if name.removesuffix(_SUFFIX) not in listed:
            yield Fault(place, "config", "is not listed under config in service.yml")
            continue
        try:
            text = (config / name).read_text(encoding="utf-8")
            if name.endswith(_SUFFIX):
                file_environment(PurePosixPath(name.removesuffix(_SUFFIX)).suffix).parse(text)
        except TemplateSyntaxError as exc:
            yield Fault(f"{place} line {exc.lineno}", name.removesuffix(_SUFFIX), f"broken template: {exc.message}")
        except (OSError, UnicodeDecodeError) as exc:
            yield Fault(place, name, f"cannot be read as UTF-8 text: {type(exc).__name__}")
        except ValueError as exc:
            yield Fault(place, name, str(exc))


def _clashing_settings(entries: Iterable[CatalogueEntry]) -> Iterator[Fault]:
    owners = {name.upper(): "AutoGit" for name in Settings.model_fields}
    for entry in entries:
        own: set[str] = set()
        for setting in entry.descriptor.settings:
            owner = owners.setdefault(setting.name, entry.descriptor.service)
            place = f"{entry.origin}/service.yml"
            if owner != entry.descriptor.service:
                yield Fault(place, setting.name, f"is a setting of {owner} already: choose another name")
            elif setting.name in own:
                yield Fault(place, setting.name, "stands twice among the settings")
            own.add(setting.name)


def _clashing_ports(entries: Iterable[CatalogueEntry]) -> Iterator[Fault]:
    """Yield ports that two claim: one number twice in a container, one setting in services that may run together."""
    owners: dict[str, ServiceDescriptor] = {}
    for entry in entries:
        descriptor, place = entry.descriptor, f"{entry.origin}/service.yml"
        numbers: dict[int, str] = {}
        for name, port in descriptor.ports.items():
            first = numbers.setdefault(port.internal, name)
            if first != name:
                yield Fault(place, "ports", f"{name} is the same port as {first}: {port.internal}")
            owner = owners.setdefault(port.setting or f"{descriptor.service} {name}", descriptor)
            if port.published and (descriptor.role != "ingress" or port.via_ingress):
                yield Fault(place, "ports", f"{name}: the ingress alone publishes ports; via_ingress passes one on")
            together = owner is not descriptor and (owner.role is None or owner.role != descriptor.role)
            if together:
                yield Fault(place, "ports", f"{port.setting} is a port of {owner.service} already: choose another name")


def _every_dependency(descriptor: ServiceDescriptor) -> set[str]:
    run = descriptor.runs.container
    return {*descriptor.dependencies, *((*run.dependencies, *run.companions) if run else ())}


def _check_circles(entries: Mapping[str, CatalogueEntry]) -> None:
    graph = {name: sorted(_every_dependency(entry.descriptor) - ROLES) for name, entry in entries.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        circle = " -> ".join(reversed(exc.args[1]))
        raise DependencyCycleError(
            f"services depend on each other in a circle: {circle}", hint="take one of the dependencies out"
        ) from exc
