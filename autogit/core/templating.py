"""The sandbox that templates are rendered in: strict, and every value goes through its format's serializer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from autogit.errors import RenderError

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""What JSON lets stand and YAML does not, or reads as a line's end (YAML 1.2, sections 5.1 and 5.4)."""


def serialise(value: Any) -> str:
    """Return a value as JSON, which is YAML too (YAML 1.2, section 1.3): no value can break out of its place."""
    if isinstance(value, StrictUndefined):
        str(value)  # raises UndefinedError with the variable's name
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = text.replace("{{", "\\u007b\\u007b")  # Traefik runs its dynamic files through Go's templates
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def serialise_ruby(value: Any) -> str:
    """Return a value as a Ruby literal (GitLab's omnibus configuration); nothing in it is interpolated.

    Single-quoted strings know two escapes, for the quote and the backslash (Ruby, doc/syntax/literals.rdoc).
    """
    if isinstance(value, StrictUndefined):
        str(value)
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{serialise_ruby(k)} => {serialise_ruby(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(serialise_ruby(item) for item in value) + "]"
    text = str(value)
    if "\0" in text:
        raise ValueError("a value for a Ruby file holds a NUL character")
    literal = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + literal.replace("\r", "'\"\\r\"'") + "'"  # Ruby reads a raw carriage return as part of a line's end


def serialise_nginx(value: Any) -> str:
    """Return a value as one nginx parameter (ngx_conf_file.c: quotes and backslashes are escaped).

    Raises ValueError for a dollar sign, which nginx would take for a variable and has no way to write, and for lists.
    """
    if isinstance(value, StrictUndefined):
        str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or re.search(r"[$\0\r\n]", value):
        raise ValueError("a value for an nginx file must be one line of text without a dollar sign, or a whole number")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


SERIALIZERS: Mapping[str, Callable[[Any], str]] = {
    ".yml": serialise,
    ".yaml": serialise,
    ".json": serialise,
    ".toml": serialise,  # a JSON string without surrogates is a TOML basic string (TOML 1.0, String)
    ".alloy": serialise,  # string literals follow Go, whose escapes hold JSON's but for the slash, which is not used
    ".rb": serialise_ruby,
    ".conf": serialise_nginx,
}
"""How a value is written, by the ending of the file it goes into; files of other endings cannot be templates."""


@lru_cache(maxsize=1)
def text_environment() -> ImmutableSandboxedEnvironment:
    """Return the environment for single words (arguments, variables): values stand as they are."""
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)


def fill_text(place: str, text: str, context: Mapping[str, Any]) -> str:
    """Return a descriptor's text with its values filled in. Raises RenderError naming `place` (file and key)."""
    try:
        return text_environment().from_string(text).render(context)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as exc:
        raise RenderError(
            f"{place} {text!r}: {exc}", hint="docs/reference/templates.md lists the names that can be used"
        ) from exc


@lru_cache(maxsize=len(SERIALIZERS))
def file_environment(suffix: str) -> ImmutableSandboxedEnvironment:
    """Return the environment for files of an ending: `{{ x }}` writes x as a value of their format, whatever it holds.

    Raises ValueError for an ending whose format nobody can serialise.
    """
    serializer = SERIALIZERS.get(suffix)
    if serializer is None:
        raise ValueError(f"a template ends in one of {', '.join(SERIALIZERS)}, before .j2")
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=serializer
    )
