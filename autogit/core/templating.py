"""The sandbox that templates are rendered in: strict, and in structured files every value goes through a serializer."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment


def serialise(value: Any) -> str:
    """Return a value as JSON, which is YAML too (YAML 1.2, section 1.3): no value can break out of its place."""
    if isinstance(value, StrictUndefined):
        str(value)  # raises UndefinedError with the variable's name
    return (
        json.dumps(value, ensure_ascii=False, sort_keys=True)
        .replace("\x85", "\\u0085")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
        .replace("\x7f", "\\u007f")
        .replace("\ufeff", "\\ufeff")
    )


@lru_cache(maxsize=1)
def text_environment() -> ImmutableSandboxedEnvironment:
    """Return the environment for single words (arguments, variables): values stand as they are."""
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)


@lru_cache(maxsize=1)
def structured_environment() -> ImmutableSandboxedEnvironment:
    """Return the environment for YAML and JSON files: `{{ x }}` writes x as a JSON value, whatever it holds."""
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=serialise
    )
