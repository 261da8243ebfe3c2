"""Writes docs/reference/*.md and .env.example from the code; `--check` tells which of them lag behind."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from autogit import errors
from autogit.model.service import TIERS, ServiceDescriptor, SizingTier

ROOT = Path(__file__).resolve().parent.parent
_GIBIBYTE = 1024**3
_TYPERS_OWN = frozenset({"help", "install_completion", "show_completion"})
_COMMANDS_HEAD = """# Commands

Data goes to standard output, everything else to standard error.

| Exit code | Meaning |
| --- | --- |
| 0 | done, or nothing to do |
| 1 | failed; `status`, `certs status`: not all is well; `dns verify`: not as wished; `scan`: something was found |
| 2 | the command line or the configuration is wrong |
| 3 | changes are pending (`plan --exit-code`, `drift`) |
| 4 | partly applied; the next `up` goes on from there |
| 5 | another command holds the apply lock |
"""
_ERRORS_HEAD = """# Errors

A fault has a stable code, a sentence with a place, and a way out. The command line prints `error[code]: sentence` and
exits with the code's number; the API answers with problem details (RFC 9457) of the same code and its HTTP status.
Transient ones may go away by themselves when the command is repeated.
"""
_SERVICES_HEAD = """# Services

The built-in catalogue. `autogit services show NAME --format json` prints one service's discovery document;
[Add a service](../how-to/add-a-service.md) tells how to bring your own.
"""
_TEMPLATES_HEAD = """# Templates

What a service's templates (`config/**.j2`) and the texts of its descriptor (arguments, variables, bind sources) may
use. In a file each `{{ value }}` is written by the serializer of the file's format, so no value can break out of its
place: write no quotes around it, and join texts inside one `{{ }}` (`{{ config_dir ~ "/rules" }}`). In a descriptor's
texts values stand as they are; no shell is involved. A file without `.j2` is copied as it stands.
"""
_SIZING_HEAD = """## Sizing

CPU cores and memory per service in each tier (`SIZE`). Totals are rounded up as the specification's table rounds them:
to halves below 10G, to whole ones above.
"""
_MARK = "<!-- Written by docs/generate.py (make docs): change the code, not this page. -->\n\n"


@dataclass(frozen=True)
class CommandPage:
    """One command: its words (`secrets reveal`), its help text and its parameters as table rows."""

    words: str
    help: str
    usage: str
    rows: tuple[tuple[str, str], ...]


def build_pages() -> dict[str, str]:
    """Return each generated file's path (below the repository's root) and text."""
    from autogit.core.settings_reference import env_example, settings_reference  # noqa: PLC0415 - loads pydantic

    descriptors = list_descriptors()
    return {
        "docs/reference/settings.md": _MARK + _ended(settings_reference(descriptors)),
        "docs/reference/commands.md": _MARK + commands_page(list_commands()),
        "docs/reference/errors.md": _MARK + errors_page(list_errors()),
        "docs/reference/services.md": _MARK + services_page(descriptors),
        "docs/reference/templates.md": _MARK + templates_page(),
        ".env.example": _ended(env_example(descriptors)),
    }


def find_stale(pages: dict[str, str], root: Path) -> list[str]:
    """Return the paths of `pages` whose text below `root` is missing or differs."""
    return [path for path, text in pages.items() if not _holds(root / path, text)]


def list_descriptors() -> list[ServiceDescriptor]:
    """Return the built-in services' descriptors by name."""
    from autogit.core.catalogue import load_catalogue  # noqa: PLC0415
    from autogit.core.paths import templates_root  # noqa: PLC0415

    return sorted(load_catalogue([templates_root() / "services"]).descriptors, key=lambda d: d.service)


def list_errors() -> list[type[errors.AutogitError]]:
    """Return AutogitError and every class below it that a user can meet, parents first."""

    def walk(kind: type[errors.AutogitError]) -> Iterator[type[errors.AutogitError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from walk(child)

    return [kind for kind in walk(errors.AutogitError) if kind.__module__ == errors.__name__]


def list_commands() -> list[CommandPage]:
    """Return every command of the command line, groups in their order, hidden ones left out."""
    import typer  # noqa: PLC0415
    from typer.main import get_command  # noqa: PLC0415

    from autogit.cli import app  # noqa: PLC0415

    root: Any = get_command(app)
    return list(_walk(root, typer.Context(root, info_name="autogit"), ""))


def _walk(command: Any, context: Any, words: str) -> Iterator[CommandPage]:
    yield _command_page(command, words)
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        child = command.get_command(context, name)
        if child is not None and not child.hidden:
            below = type(context)(child, info_name=name, parent=context)
            yield from _walk(child, below, f"{words} {name}".strip())


def _command_page(command: Any, words: str) -> CommandPage:
    # Only what our own code says goes into the page (names, helps, defaults): Typer words its part differently in
    # every version, and a page must not become stale by an upgrade.
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name not in _TYPERS_OWN]
    arguments = [_argument_name(p) for p in shown if p.param_type_name == "argument"]
    below = ["COMMAND"] if hasattr(command, "list_commands") else []
    usage = " ".join(["autogit", *words.split(), "[OPTIONS]", *arguments, *below])
    text = inspect.cleandoc(command.help or "").split("\f")[0].strip()
    return CommandPage(words, text, usage, tuple(_parameter_row(p) for p in shown))


def _parameter_row(parameter: Any) -> tuple[str, str]:
    text = " ".join((getattr(parameter, "help", "") or "").split())
    if parameter.param_type_name == "argument":
        return _argument_name(parameter), text
    name = ", ".join(parameter.opts) + "".join(f" / {o}" for o in parameter.secondary_opts)
    if parameter.is_flag or parameter.count:
        return name, text
    default = parameter.default
    shown = getattr(default, "value", default)
    ending = "" if callable(default) or shown in (None, "", (), []) else f" (default: {shown})"
    return f"{name} {_value_name(parameter)}", text + ending


def _argument_name(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()) + ("..." if parameter.nargs == -1 else "")
    return str(name) if parameter.required else f"[{name}]"


def _value_name(parameter: Any) -> str:
    if isinstance(parameter.default, Enum):
        return "|".join(str(member.value) for member in type(parameter.default))
    return str(parameter.metavar or parameter.name.upper())


def commands_page(commands: Sequence[CommandPage]) -> str:
    """Return the page of all commands."""
    parts = [_COMMANDS_HEAD]
    for command in commands:
        title = f"autogit {command.words}".strip()
        parts.append(f"## `{title}`\n\n{command.help}\n\n```text\n{command.usage}\n```\n")
        if command.rows:
            parts.append(_table(("Parameter", "Meaning"), [(f"`{_cell(n)}`", _cell(h)) for n, h in command.rows]))
    return "\n".join(parts)


def errors_page(kinds: Sequence[type[errors.AutogitError]]) -> str:
    """Return the page of all error codes."""
    rows = [(f"[`{k.code}`](#{k.code})", str(k.exit_code), str(k.http_status), _yes(k.retryable)) for k in kinds]
    table = _table(("Code", "Exit code", "HTTP status", "Transient"), rows)
    return "\n".join([_ERRORS_HEAD, table, *(f"## {k.code}\n\n{_unwrapped(k)}\n" for k in kinds)])


def services_page(descriptors: Sequence[ServiceDescriptor]) -> str:
    """Return the page of all built-in services: discovery documents, sizing with totals, settings."""
    discovery = [
        (
            f"`{d.service}`",
            _cell(d.summary),
            *(_value(v) for v in (d.subdomain, d.internal_port, d.external_port, d.health_endpoint, d.ready_endpoint)),
            ", ".join(d.labels),
        )
        for d in descriptors
    ]
    heads = ("Service", "Summary", "Subdomain", "Internal port", "External port", "Health", "Ready", "Labels")
    runs = [
        (f"`{d.service}`", _runs(d), _value(d.image), ", ".join(f"`{x}`" for x in _needs(d)), _settings(d))
        for d in descriptors
    ]
    return "\n".join(
        [
            _SERVICES_HEAD,
            _table(heads, discovery),
            _SIZING_HEAD,
            _sizing(descriptors),
            "## Running\n",
            _table(("Service", "Embedded runtime", "Container image", "Needs", "Settings of its own"), runs),
        ]
    )


def templates_page() -> str:
    """Return the page of the names that templates may use, and of how values are written."""
    from autogit.core.context import TEMPLATE_NAMES  # noqa: PLC0415
    from autogit.core.templating import SERIALIZERS  # noqa: PLC0415

    names = _table(("Name", "What it is"), [(f"`{name}`", _cell(text)) for name, text in TEMPLATE_NAMES.items()])
    endings = ", ".join(f"`{ending}`" for ending in SERIALIZERS)
    return "\n".join([_TEMPLATES_HEAD, names, f"Files that can be templates end in {endings} (before `.j2`).\n"])


def _sizing(descriptors: Sequence[ServiceDescriptor]) -> str:
    sized = [d for d in descriptors if d.sizing]
    rows = [(f"`{d.service}`", *(_size(d.sizing.get(tier)) for tier in TIERS)) for d in sized]
    totals = [_total([d.sizing[tier] for d in sized if tier in d.sizing]) for tier in TIERS]
    return _table(("Service", *TIERS), [*rows, ("**Total**", *(f"**{_size(t)}**" for t in totals))])


def _total(sizes: Sequence[SizingTier]) -> SizingTier | None:
    if not sizes:
        return None
    memory_bytes = sum(s.memory_bytes for s in sizes)
    step = _GIBIBYTE // 2 if memory_bytes < 10 * _GIBIBYTE else _GIBIBYTE
    return SizingTier(cpus=sum(s.cpus for s in sizes), memory_bytes=-(-memory_bytes // step) * step)


def _size(size: SizingTier | None) -> str:
    if size is None:
        return ""
    mebibytes = size.memory_bytes // 1024**2
    return f"{size.cpus:g}C/" + (f"{mebibytes / 1024:g}G" if mebibytes >= 1024 else f"{mebibytes}M")  # noqa: PLR2004


def _runs(descriptor: ServiceDescriptor) -> str:
    if descriptor.runs.embedded is None:
        return _cell("no: " + descriptor.runs.unavailable.get("embedded", "it needs a container"))
    return f"yes, as `{descriptor.runs.embedded.program}`"


def _needs(descriptor: ServiceDescriptor) -> tuple[str, ...]:
    run = descriptor.runs.container
    return (*descriptor.dependencies, *(run.dependencies if run else ()))


def _settings(descriptor: ServiceDescriptor) -> str:
    return ", ".join(f"`{s.name}`" for s in descriptor.settings)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _value(value: object) -> str:
    return "" if value is None else f"`{value}`"


def _yes(value: object) -> str:
    return "yes" if value else ""


def _unwrapped(kind: type) -> str:
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(p.split()) for p in paragraphs)


def _ended(text: str) -> str:
    return text.rstrip("\n") + "\n"


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _write(pages: dict[str, str], root: Path, say: Callable[[str], object]) -> None:
    for path in find_stale(pages, root):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(pages[path], encoding="utf-8")
        say(f"wrote {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what lags behind, or with `--check` list it and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is stale")
    checking = parser.parse_args(arguments).check
    pages = build_pages()
    if not checking:
        _write(pages, ROOT, print)
        return 0
    stale = find_stale(pages, ROOT)
    for path in stale:
        print(f"stale: {path}", file=sys.stderr)
    if stale:
        print("hint: make docs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
