"""Which words a text must have so that an expression can match it: most rules are not even tried on most texts.

They are derived from the expression itself, as RE2's own prefilter does it (its `prefilter.h`), but by whole words:
what was found out about a word once is known in every text that has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache, reduce
from itertools import chain, repeat
from operator import and_
from typing import NamedTuple

import re2

from autogit.security.blocks import Blocks, Bounds, words_of
from autogit.security.expressions import BREAK, WILD, Choice, Node, Repeat, Row, Text, join

_WORDS = re.compile(r"[0-9A-Za-z]+|[^\x00-\x7f]+")
_MOST = 48
"""How many ways to begin are followed at once. Before there are more, what they have said is noted and forgotten."""
_KEPT_NEEDS = 4
"""How many needs of one branch are looked at: its rarest."""
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
    a about all an and any are as at be been but by can do for from has have how i if in is it its may must new no not
    now of on one only or other out set should so than that the then there they this to up us use used was we what when
    which will with you your
    """,
    )
)
"""Words that most texts have."""
_CANARY = b"\x01\x02\x01"
"""Put behind the words and looked for: where it is not found, the Set did not really look."""
_LONG = 8192
"""Shorter texts are searched as a whole."""
_KEPT_WORDS = 1 << 16
_ALL: Sequence[Bounds] = ((),)
_TOGETHER = 16
"""So many words are asked about at once where each of them hardly meets a need."""
_NOTHING: frozenset[int] = frozenset()
_LONGEST_KEPT = 64
"""Of longer words it is not remembered what they hold: they hardly come again."""


class Anchor(NamedTuple):
    """A word, or a piece of one: `opened` where the word may have more in front, `open_ended` where it may go on."""

    text: str
    opened: bool
    open_ended: bool

    def commonness(self) -> float:
        """Return how likely it is that a text has it, roughly."""
        if self.text in _COMMON:
            return 1.0
        length = len(self.text.encode())
        return min(0.5, 2.0 ** (3 * self.opened + self.open_ended - length))


Need = frozenset[Anchor]
"""A text must have one of these."""


def needs_of(tree: Node) -> tuple[frozenset[Need], ...]:
    """Return what a text must have so that an expression can match it: of one branch all the needs.

    A branch without needs may match any text.
    """
    branches = tree.branches if isinstance(tree, Choice) else (tree,)
    found = {_rarest(_needs_of_branch(branch)) for branch in branches}
    least = (one for one in found if not any(other < one for other in found))
    return tuple(sorted(least, key=lambda branch: sorted(map(sorted, branch))))


def _needs_of_branch(branch: Node) -> list[Need]:
    needs: list[Need] = []
    _note(_follow(branch, frozenset(WILD), needs), needs)
    return needs


def _rarest(needs: Iterable[Need]) -> frozenset[Need]:
    return frozenset(sorted(set(needs), key=lambda need: (_commonness(need), sorted(need)))[:_KEPT_NEEDS])


def _commonness(need: Need) -> float:
    return sum(anchor.commonness() for anchor in need)


def _follow(node: Node, begun: frozenset[str], needs: list[Need]) -> frozenset[str]:
    """Return how a text may go on that has begun in some ways; what is certain by then joins the needs."""
    if isinstance(node, Text):
        return _joined(_cut(begun, len(node.options), needs), node.options)
    if isinstance(node, Choice):
        return _branched(node.branches, _cut(begun, len(node.branches), needs), needs)
    if isinstance(node, Repeat):
        return _repeated(node, begun, needs)
    for part in node.parts:
        begun = _follow(part, begun, needs)
        if all(way.endswith(BREAK) for way in begun):
            begun = _note(begun, needs)
    return begun


def _branched(branches: Sequence[Node], begun: frozenset[str], needs: list[Need]) -> frozenset[str]:
    ends: list[frozenset[str]] = []
    certain: list[list[Need]] = []
    for branch in branches:
        certain.append([])
        ends.append(_follow(branch, begun, certain[-1]))
    if not any(certain):
        return frozenset(chain(*ends))
    # A branch that is certain of something has forgotten how it began: each says by itself what it needs.
    tails = [_note(end, known) for end, known in zip(ends, certain, strict=True)]
    if all(certain):
        needs.append(frozenset(chain(*(min(known, key=_commonness) for known in certain))))
    return frozenset(chain(*tails))


def _repeated(node: Repeat, begun: frozenset[str], needs: list[Need]) -> frozenset[str]:
    if node.most == 0:
        return begun
    if isinstance(node.part, Text) and node.part.options == {BREAK}:
        once = _joined(begun, node.part.options)
        return once if node.least else begun | once
    if node.most == 1:
        return _follow(node.part, begun, needs) if node.least else _branched((Row(()), node.part), begun, needs)
    ends = _note(_follow(node.part, frozenset(WILD), []), [])
    if node.least:
        begun = _follow(node.part, begun, needs)
    begun = _cut(begun, 1 + len(ends), needs)
    return begun | _joined(begun, [join(WILD, end) for end in ends])


def _joined(begun: Iterable[str], options: Iterable[str]) -> frozenset[str]:
    return frozenset(join(way, option) for way in begun for option in options)


def _cut(begun: frozenset[str], times: int, needs: list[Need]) -> frozenset[str]:
    """Return the ways to begin, cut so that they stay few when each goes on in that many ways."""
    if len(begun) * times <= _MOST:
        return begun
    ends = _note(begun, needs)
    return (
        ends if len(ends) * times <= _MOST else frozenset(BREAK if all(way.endswith(BREAK) for way in ends) else WILD)
    )


def _note(begun: frozenset[str], needs: list[Need]) -> frozenset[str]:
    """Join what is certain in every way to begin to the needs, and return the words that they are in the middle of."""
    anchors = [_anchors_of(way) for way in begun]
    if len(anchors) == 1:
        needs += (frozenset([anchor]) for anchor in anchors[0])
    elif all(anchors):
        needs.append(frozenset(some[0] for some in anchors))
    return frozenset(way[max(way.rfind(BREAK), way.rfind(WILD), 0) :] for way in begun)


@lru_cache(maxsize=1 << 12)
def _anchors_of(way: str) -> tuple[Anchor, ...]:
    """Return the words of a way to begin and the pieces of words, the rarest first."""
    found = []
    for match in _WORDS.finditer(way):
        opened = way[match.start() - 1 : match.start()] in ("", WILD)
        open_ended = way[match.end() : match.end() + 1] in ("", WILD)
        # A letter or two in the middle of a word are in nearly every text.
        if not match[0].isascii() or len(match[0]) > opened + open_ended:
            found.append(Anchor(match[0], opened, open_ended))
    return tuple(sorted(found, key=Anchor.commonness))


class _Known:
    """What was found out about words. It only ever grows; when it is large, a new one is begun."""

    def __init__(self) -> None:
        self.words: set[bytes] = set()
        self.telling: dict[bytes, AbstractSet[int]] = {}

    def add(self, word: bytes, held: AbstractSet[int]) -> None:
        """Note which needs a word meets."""
        if held:
            self.telling[word] = held
        self.words.add(word)


class Anchors:
    """Tells where in a text an expression can match at all, by the text's words.

    What a word holds is looked up once for all texts: whole words in a table, pieces of words by one automaton (RE2
    Set). That Set answers "nothing" when its memory is not enough, hence the canary: a word whose canary it does not
    find counts as every word there is.
    """

    def __init__(self, expressions: Sequence[Sequence[frozenset[Need]]], *, memory: int) -> None:
        every = {need for branches in expressions for branch in branches for need in branch}
        ids = {
            need: number
            for number, need in enumerate(sorted(every, key=lambda need: (_commonness(need), sorted(need))))
        }
        self._every = frozenset(ids.values())
        self._always = {number for number, branches in enumerate(expressions) if frozenset() in branches}
        self._branches: list[list[tuple[frozenset[int], int]]] = [[] for _ in ids]
        for number, branches in enumerate(expressions):
            for branch in filter(None, branches):
                needs = frozenset(ids[need] for need in branch)
                self._branches[min(needs)].append((needs, number))
        held: dict[Anchor, list[int]] = {}
        for need, number in ids.items():
            for anchor in need:
                held.setdefault(anchor, []).append(number)
        pieces = [anchor for anchor in held if anchor.opened or anchor.open_ended]
        whole = (anchor for anchor in held if not (anchor.opened or anchor.open_ended))
        self._whole = {anchor.text.encode(): frozenset(held[anchor]) for anchor in whole}
        self._pieces = [*(held[anchor] for anchor in pieces), []]
        self._canary = len(pieces)
        self._set = _set_of([_expression(anchor) for anchor in pieces], memory)
        self._known = _Known()

    def places(self, data: bytes) -> list[tuple[int, Sequence[Bounds]]]:
        """Return the numbers of the expressions that may match a text, given in UTF-8, in order, and where.

        A long text has nearly every word, but hardly all that one expression needs close to each other.
        """
        held = self._held_by(words_of(data))
        met = set().union(*held.values())
        branches = [branch for need in met for branch in self._branches[need] if branch[0] <= met]
        if len(data) < _LONG:
            return [(number, _ALL) for number in sorted({number for _, number in branches} | self._always)]
        blocks = Blocks(data, held)
        bits = blocks.meeting({need for needs, _ in branches for need in needs})
        found: dict[int, int] = dict.fromkeys(self._always, blocks.every)
        for needs, number in branches:
            if near := reduce(and_, (bits[need] for need in needs)):
                found[number] = found.get(number, 0) | near
        return [(number, blocks.spans(found[number])) for number in sorted(found)]

    def _held_by(self, words: AbstractSet[bytes]) -> dict[bytes, AbstractSet[int]]:
        """Return which needs each word meets, of those that meet any."""
        known = self._known
        found: dict[bytes, AbstractSet[int]] = {}
        for word, held in self._looked_up(words - known.words):
            if len(word) <= _LONGEST_KEPT:
                known.add(word, held)
            elif held:
                found[word] = held
        # Most words tell nothing: only those that do are gone through.
        found.update((word, known.telling[word]) for word in known.telling.keys() & words)
        if len(known.words) >= _KEPT_WORDS:
            self._known = _Known()
        return found

    def _looked_up(self, words: AbstractSet[bytes]) -> Iterator[tuple[bytes, AbstractSet[int]]]:
        """Yield which needs words meet that were not seen before; with digits in them they hardly meet any."""
        odd = [word for word in words if not word.isalpha()]
        for at in range(0, len(odd), _TOGETHER):
            together = odd[at : at + _TOGETHER]
            if self._hits(*together) == [self._canary] and self._whole.keys().isdisjoint(together):
                yield from zip(together, repeat(_NOTHING))
            else:
                yield from zip(together, map(self._held, together), strict=True)
        plain = [word for word in words if word.isalpha()]
        yield from zip(plain, map(self._held, plain), strict=True)

    def _held(self, word: bytes) -> AbstractSet[int]:
        hits = self._hits(word)
        if self._canary not in hits:
            return self._every
        whole = self._whole.get(word, _NOTHING)
        return whole.union(*map(self._pieces.__getitem__, hits)) if len(hits) > 1 else whole

    def _hits(self, *words: bytes) -> list[int]:
        """Return the numbers of the pieces that any of the words has, and of the canary if the Set really looked."""
        return (self._set.Match(b"\x00".join((b"", *words, _CANARY))) or []) if self._set else []


def _expression(anchor: Anchor) -> str:
    """Return the expression for a piece of a word that has NUL before and behind it."""
    edge = re2.escape("\x00")
    return f"{'' if anchor.opened else edge}{re2.escape(anchor.text)}{'' if anchor.open_ended else edge}"


def _set_of(sources: Sequence[str], memory: int) -> re2.Set | None:
    """Return one automaton of many expressions and the canary; nothing where it does not fit into its memory."""
    options = re2.Options()
    options.max_mem = memory
    options.never_capture = True
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    for source in (*sources, re2.escape(_CANARY.decode())):
        found.Add(source)
    try:
        found.Compile()
    except re2.error:
        return None
    return found
