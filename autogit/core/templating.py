"""The sandbox that templates are rendered in: strict, and in structured files every value goes through a serializer."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""What JSON lets stand and YAML does not, or reads as a line's end (YAML 1.2, sections 5.1 and 5.4)."""


def serialise(value: Any) -> str:
    """Return a value as JSON, which is YAML too (YAML 1.2, section 1.3): no value can break out of its place."""
    if isinstance(value, StrictUndefined):
        str(value)  # raises UndefinedError with the variable's name
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = text.replace("{{", "\\u007b\\u007b")  # Traefik runs its dynamic files through Go's templates
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


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
