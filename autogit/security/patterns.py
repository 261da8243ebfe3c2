"""Stage 2: known patterns. They are data (`rules/*.yml`), run by an engine whose time is linear in the text (RE2)."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import accumulate, chain, groupby, islice
from typing import Annotated, NamedTuple

import re2
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from autogit.model.security import Finding, Severity, Stage
from autogit.security.anchors import Anchors, Need, needs_of
from autogit.security.blocks import Bounds
from autogit.security.expressions import ExpressionError, Reader
from autogit.security.folding import fold
from autogit.security.repeats import Span
from autogit.security.views import View

MEMORY_BYTES = 32 << 20
"""How much RE2 may use for an automaton. Where that is not enough it goes on without one, slower; its Set does not,
which `anchors.py` looks after."""
_MOST_HITS, _BYTES_FOR_ONE = 64, 1024
"""How often one rule is told of in one view, and how many bytes allow for one more. The last one tells of all the rest,
so that nothing stays behind: such a text is made of little else."""
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
    """Rules ready to run: their words tell which of their expressions a text can match, and only these are run.

    All rules in one automaton would be one pass, too, but the gaps between their words multiply: it never stops
    growing, and 2 KB of new text cost 6 ms. So each expression has an automaton of its own, and few of them are needed.
    """

    def __init__(
        self, rules: Sequence[Rule], vocabulary: Mapping[str, str] | None = None, *, memory: int = MEMORY_BYTES
    ) -> None:
        self.rules = tuple(rules)
        # Folded texts are NFKC, so their rules have to be: Thai, for one, is written differently.
        words = {name: unicodedata.normalize("NFKC", value) for name, value in (vocabulary or {}).items()}
        patterns = [
            (number, unicodedata.normalize("NFKC", pattern))
            for number, rule in enumerate(self.rules)
            for pattern in rule.pattern
        ]
        self.owners = [number for number, _ in patterns]
        self.expressions = [_compiled(self.rules[number], expand(pattern, words)) for number, pattern in patterns]
        reader = Reader(words)
        self._anchors = Anchors([_needs_of(reader, pattern) for _, pattern in patterns], memory=memory)

    def candidates(self, text: str) -> list[int]:
        """Return the numbers of the expressions whose words a text has; of all of them where that is not known."""
        return [number for number, _ in self._anchors.places(text.encode("utf-8", "replace"))]

    def matching(self, text: str) -> tuple[int, ...]:
        """Return the numbers of the rules that match anywhere in a text."""
        return tuple(owner for owner, _ in self._hits(text.encode("utf-8", "replace")))

    def find(self, view: View) -> Iterator[Finding]:
        """Yield what matches in a view."""
        data = view.text.encode("utf-8", "replace")
        offset: _Offsets | None = None
        for owner, found in self._hits(data):
            rule = self.rules[owner]
            offset = offset or _Offsets(view.text, data)
            spans = _merged(span for hit in found for span in _spans(hit, data))
            for start, end in view.places([offset.span(*span) for span in spans]):
                yield Finding(rule.id, rule.stage, rule.severity, start, end, rule.weight, rule.description, view.name)

    def _hits(self, data: bytes) -> Iterator[tuple[int, list[_Hit]]]:
        """Yield the rules that match, and which of their expressions, in which parts of the text."""
        for owner, places in groupby(self._anchors.places(data), key=lambda place: self.owners[place[0]]):
            found = [hit for number, parts in places if (hit := _hit(self.expressions[number], data, parts))]
            if found:
                yield owner, found


class _Hit(NamedTuple):
    """An expression that matches, and the parts of the text to look at, from the first on that it matches in."""

    expression: re2._Regexp
    parts: Sequence[Bounds]


def _hit(expression: re2._Regexp, data: bytes, parts: Sequence[Bounds]) -> _Hit | None:
    for number, part in enumerate(parts):
        if expression.search(data, *part):
            return _Hit(expression, parts[number:])
    return None


def _spans(hit: _Hit, data: bytes) -> Iterator[Span]:
    most = _MOST_HITS + len(data) // _BYTES_FOR_ONE
    found = chain.from_iterable(hit.expression.finditer(data, *part) for part in hit.parts)
    for count, match in enumerate(islice(found, most), 1):
        yield match.start(), match.end() if count < most else len(data)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that overlap as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start < found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _needs_of(reader: Reader, pattern: str) -> tuple[frozenset[Need], ...]:
    """Return what a text must have for a pattern; nothing where the pattern holds what the reader does not know."""
    try:
        return needs_of(reader.read(pattern))
    except ExpressionError:
        return (frozenset(),)


def _compiled(rule: Rule, source: str) -> re2._Regexp:
    options = re2.Options()
    options.max_mem = MEMORY_BYTES
    options.never_capture = True
    options.log_errors = False
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
