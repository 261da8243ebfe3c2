"""Stage 2: known patterns. They are data (`rules/*.yml`), run by an engine whose time is linear in the text (RE2)."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import accumulate, islice
from typing import Annotated

import re2
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from autogit.model.security import Finding, Severity, Stage
from autogit.security.folding import fold
from autogit.security.views import View

MEMORY_BYTES = 32 << 20
"""How much RE2 may use for an automaton. Its Set answers "no match" when that is not enough: hence `_CANARY`."""
_MOST_HITS = 2000
"""How often one rule is told of in one view. The last one tells of all the rest, so that nothing stays behind."""
_CANARY = "\x00canary\x00sings\x00"
"""Put behind every text and looked for by a rule of its own: where it is not found, the Set did not really look."""
_GAP = r"(?:[*_#>|\"'`~/\\-]*\s[\s*_#>|\"'`~/\\-]*)"
"""What a blank in a pattern stands for: also emphasis, quotes, and the start of the next line of a comment."""
_BLANK = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]| ", re.DOTALL)
"""A blank, or what may hold one that is meant as it stands: something escaped, a class of characters."""
_REFERENCE = re.compile(r"%\{([a-z0-9_]+)\}")


class RuleFileError(ValueError):
    """A rule that cannot be used: a word that is not in the vocabulary, or an expression that RE2 refuses."""


def _alternatives(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Rule(BaseModel):
    """One known pattern: RE2 expressions over folded text, with examples that it must and must not match.

    In an expression, a blank stands for any gap between two words, and `%{name}` for an entry of `vocabulary.yml`.
    A text that lacks one of `needs` (expressions without gaps) can't match: most rules are not even tried on it.
    The first word of `id` is the rule's family: of one family only the heaviest finding counts for the score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z]+(-[a-z0-9]+)+$")]
    description: Annotated[str, Field(min_length=10, max_length=120)]
    severity: Severity
    weight: Annotated[float, Field(gt=0, lt=1)]
    languages: Annotated[tuple[str, ...], Field(min_length=1)]
    pattern: Annotated[tuple[str, ...], BeforeValidator(_alternatives), Field(min_length=1)]
    matches: Annotated[tuple[str, ...], Field(min_length=1)]
    passes: Annotated[tuple[str, ...], Field(min_length=1)]
    stage: Stage = Stage.PATTERN
    needs: tuple[str, ...] = ()

    def expression(self, vocabulary: Mapping[str, str]) -> str:
        """Return the whole expression as RE2 takes it."""
        # Folded texts are NFKC, so their rules have to be: Thai, for one, is written differently.
        return unicodedata.normalize("NFKC", expand("|".join(f"(?:{one})" for one in self.pattern), vocabulary))


def expand(pattern: str, vocabulary: Mapping[str, str]) -> str:
    """Return a pattern with its words and blanks written out. Raises RuleFileError for a word that is not known."""
    for _ in range(5):  # entries may name others; five levels are more than there are
        names = set(_REFERENCE.findall(pattern))
        if missing := sorted(names - vocabulary.keys()):
            raise RuleFileError(f"not in the vocabulary: {', '.join(missing)}")
        if not names:
            break
        pattern = _REFERENCE.sub(lambda match: f"(?:{vocabulary[match[1]]})", pattern)
    return _BLANK.sub(lambda match: _GAP if match[0] == " " else match[0], pattern)


class RuleSet:
    """Rules ready to run: one automaton tells which words a text has, and only the rules that need these are run.

    All rules in one automaton would be one pass, too, but the gaps between their words multiply: it never stops
    growing, and 2 KB of new text cost 6 ms. The words alone have no gaps.
    """

    def __init__(
        self, rules: Sequence[Rule], vocabulary: Mapping[str, str] | None = None, *, memory: int = MEMORY_BYTES
    ) -> None:
        self.rules = tuple(rules)
        words = vocabulary or {}
        options = re2.Options()
        options.max_mem = MEMORY_BYTES
        options.never_capture = True
        options.log_errors = False
        self._compiled = [_compiled(rule, rule.expression(words), options) for rule in self.rules]
        needs = sorted({need for rule in self.rules for need in rule.needs})
        self._needs = [frozenset(needs.index(need) for need in rule.needs) for rule in self.rules]
        self._canary = len(needs)
        options.max_mem = memory
        self._set = _set_of([*(expand(need, words) for need in needs), re2.escape(_CANARY)], options)

    def matching(self, text: str) -> tuple[int, ...]:
        """Return the numbers of the rules that match anywhere in a text."""
        data = text.encode("utf-8", "replace")
        return tuple(number for number in self.candidates(data) if self._compiled[number].search(data))

    def find(self, view: View) -> Iterator[Finding]:
        """Yield what matches in a view."""
        data = view.text.encode("utf-8", "replace")
        offset: _Offsets | None = None
        for number in self.candidates(data):
            rule = self.rules[number]
            for count, match in enumerate(islice(self._compiled[number].finditer(data), _MOST_HITS), 1):
                offset = offset or _Offsets(view.text, data)
                start, end = offset.span(match.start(), match.end() if count < _MOST_HITS else len(data))
                start, end = view.locate(start, end)
                yield Finding(rule.id, rule.stage, rule.severity, start, end, rule.weight, rule.description, view.name)

    def candidates(self, data: bytes) -> Sequence[int]:
        """Return the numbers of the rules whose words a text (UTF-8) has; all of them where the Set cannot tell."""
        found = set(self._set.Match(data + _CANARY.encode())) if self._set else set()
        if self._canary not in found:
            return range(len(self.rules))
        return [number for number, needs in enumerate(self._needs) if needs <= found]


def _set_of(sources: Sequence[str], options: re2.Options) -> re2.Set | None:
    """Return one automaton of many expressions; nothing where it does not fit into its memory."""
    found = re2.Set.SearchSet(options)
    for source in sources:
        found.Add(source)
    try:
        found.Compile()
    except re2.error:
        return None
    return found


def _compiled(rule: Rule, source: str, options: re2.Options) -> re2._Regexp:
    try:
        return re2.compile(source.encode(), options)
    except re2.error as exc:
        raise RuleFileError(f"rule {rule.id}: {str(exc)[:120]}") from exc


class _Offsets:
    """Maps offsets in UTF-8 to offsets in the text, by steps, so that many hits in a long text stay cheap."""

    _STEP = 1024

    def __init__(self, text: str, data: bytes) -> None:
        self._data = data
        self._alike = len(text) == len(data)
        if self._alike:
            return
        steps = [text[at : at + self._STEP] for at in range(0, len(text), self._STEP)]
        self._bytes = [0, *accumulate(len(step.encode("utf-8", "replace")) for step in steps[:-1])]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return a span in the text."""
        return (start, end) if self._alike else (self._one(start), self._one(end))

    def _one(self, offset: int) -> int:
        step = bisect_right(self._bytes, offset) - 1
        rest = self._data[self._bytes[step] : offset]
        return step * self._STEP + len(rest.decode("utf-8", "replace"))


def read_rules() -> tuple[tuple[Rule, ...], dict[str, str]]:
    """Return the rules that come with AutoGit and their vocabulary."""
    rules: list[Rule] = []
    vocabulary: dict[str, str] = {}
    for file in sorted(files("autogit.security").joinpath("rules").iterdir(), key=lambda one: one.name):
        if not file.name.endswith(".yml"):
            continue
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - a safe loader
        vocabulary |= content.get("vocabulary", {})
        rules += [Rule.model_validate(one) for one in content.get("rules", ())]
    return tuple(rules), vocabulary


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=1)
def load_rules() -> RuleSet:
    """Return the rules that come with AutoGit, ready to run."""
    rules, vocabulary = read_rules()
    found = RuleSet(rules, vocabulary)
    for number, rule in enumerate(found.rules):
        if number not in found.matching(fold(rule.matches[0])):
            raise RuleFileError(f"rule {rule.id}: does not match its own first example")
    return found
