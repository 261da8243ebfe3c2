"""Reading YAML that people write: the data, the line of every key, and the faults of the text itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it: ten times faster


@dataclass(frozen=True, slots=True)
class YamlSource:
    """A parsed document: `lines` maps a path of keys and indexes to its line, `faults` are (line, sentence)."""

    data: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    faults: tuple[tuple[int, str], ...] = ()

    def line_of(self, path: Path) -> int:
        """Return the line of a path, or of the nearest thing around it that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(text: str) -> YamlSource:
    """Parse one document with the safe loader; a broken text is a fault, never an exception."""
    lines: dict[Path, int] = {}
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
        if node is None:
            return YamlSource(None, faults=((1, "the file is empty"),))
        data = loader.construct_document(node)
        return YamlSource(data, lines, tuple(_walk(node, (), lines)))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, problem = mark.line + 1 if mark else 1, str(exc.problem or exc.context)
    except RecursionError:
        line, problem = 1, "a part of it refers to itself, or it is nested too deep"
    except (yaml.YAMLError, ValueError) as exc:  # ValueError: a date such as 2026-99-99
        line, problem = 1, str(exc).splitlines()[0]
    return YamlSource(None, faults=((line, f"broken YAML: {problem}"),))


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Iterator[tuple[int, str]]:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*path, index), lines)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                yield line, f"{name} stands here again (first on line {seen[name]})"
            seen.setdefault(name, line)
            lines[(*path, name)] = line
            yield from _walk(value, (*path, name), lines)
