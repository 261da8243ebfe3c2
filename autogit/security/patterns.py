"""Stage 2: known patterns. They are data (`rules/*.yml`), run by an engine whose time is linear in the text (RE2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Annotated

import re2
import yaml
from pydantic import BaseModel, ConfigDict, Field

from autogit.model.security import Finding, Severity, Stage
from autogit.security.views import View

_MEMORY_BYTES = 256 << 20
"""RE2's Set answers "no match" when its automaton does not fit: far more than it needs, and tried with a canary."""
_MOST_HITS = 50


class Rule(BaseModel):
    """One known pattern: an RE2 expression over folded text, with examples that it must and must not match."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    description: str
    severity: Severity
    weight: Annotated[float, Field(gt=0, lt=1)]
    languages: tuple[str, ...]
    pattern: str
    matches: Annotated[tuple[str, ...], Field(min_length=1)]
    passes: Annotated[tuple[str, ...], Field(min_length=1)]


class RuleSet:
    """Rules in one automaton: which of them match at all is one pass, where is a second one for those only."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        options = re2.Options()
        options.max_mem = _MEMORY_BYTES
        self._set = re2.Set.SearchSet(options)
        for rule in self.rules:
            self._set.Add(rule.pattern)
        self._set.Compile()
        self._single = [re2.compile(rule.pattern, options) for rule in self.rules]

    def find(self, view: View) -> Iterator[Finding]:
        """Yield what matches in a view."""
        for number in sorted(self._set.Match(view.text) or ()):
            rule = self.rules[number]
            for count, match in enumerate(self._single[number].finditer(view.text)):
                if count == _MOST_HITS:
                    break
                start, end = view.locate(match.start(), match.end())
                yield Finding(
                    rule.id, Stage.PATTERN, rule.severity, start, end, rule.weight, rule.description, view.name
                )


@lru_cache(maxsize=1)
def load_rules() -> RuleSet:
    """Return the rules that come with AutoGit."""
    found: list[Rule] = []
    for file in sorted((one for one in files("autogit.security").joinpath("rules").iterdir()), key=lambda f: f.name):
        if file.name.endswith(".yml"):
            found += [Rule.model_validate(one) for one in yaml.safe_load(file.read_text(encoding="utf-8"))["rules"]]
    return RuleSet(found)
