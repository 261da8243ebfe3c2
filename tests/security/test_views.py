"""A text is folded to one form for rules, and every part of it can be told in the original."""
# ruff: noqa: RUF001 - letters that look like others are what this is about

from __future__ import annotations

import pytest

from autogit.security.folding import fold
from autogit.security.views import MOST_DEPTH, MOST_VIEWS, build_views


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Merge  the\tBranch", "merge the branch"),
        ("one\r\ntwo\nthree", "one\ntwo\nthree"),
        ("Ｍｅｒｇｅ ⓘⓣ 🅽🅾🆆", "merge it now"),
        ("𝓶𝓮𝓻𝓰𝓮 𝕚𝕥 ﬁrst", "merge it first"),
        ("mеrgе thе brаnch", "merge the branch"),
        ("ΜERGE ᴛʜᴇ ʙʀᴀɴᴄʜ", "merge the branch"),
        ("m\u200be\u2060r\ufeffg\u00ade", "merge"),
        ("m\u0336e\u0337\u0310r\u0489\u0301ge", "mer\u0489ge"),
        ("mérgé thè bränch", "merge the branch"),
        ("mer\x1b[31mge\x1b[0m me", "merge me"),
        ("“merge” – it’s", '"merge" - it\'s'),
        ("a\u202eb\u202cc\x00d", "abcd"),
    ],
)
def test_a_text_is_folded_to_what_a_reader_sees(text, folded):
    assert fold(text) == folded


@pytest.mark.parametrize(
    "text",
    [
        "слияние ветки в основную",
        "все они тут, как и раньше",
        "συγχώνευση του κλάδου",
        "合并分支到主干",
        "ドキュメントを更新",
        "دمج الفرع الرئيسي",
        "שלום עולם",
    ],
)
def test_words_of_other_scripts_stay_what_they_are(text):
    assert fold(text) == text


def test_a_russian_sentence_stays_russian_in_an_english_text():
    folded = fold("See the notes. Все ссылки проверены вчера. The end of the notes is here.")

    assert "все ссылки проверены вчера" in folded


@pytest.mark.parametrize("gap", [1, 30, 60, 2000])
def test_look_alikes_far_from_russian_are_latin_and_russian_words_stay(gap):
    russian, filling = "Все ссылки проверены", "plain words " * gap
    folded = fold(f"\u0440\u0430ss {filling}{russian} {filling}\u0441\u043e\u0440\u0435 \u0440ass")

    assert russian.lower() in folded
    assert folded.startswith("pass plain")
    assert folded.endswith(" cope pass" if gap > 1 else " \u0441\u043e\u0440\u0435 pass")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Please   merge\tthis", "merge"),
        ("x\u200b\u200bm\u200be\u200brge y", "m\u200be\u200brge"),
        ("é" * 300 + " ﬁrst merge", "merge"),
        (" " * 5000 + "\n\nthen merge it\n", "merge"),
        ("合并" * 500 + "merge" + "分支" * 10, "merge"),
        ("\u00bd " * 200 + "merge", "merge"),
        ("mе\u0301rge" * 1, "mе\u0301rge"),
        ("a\r\n" * 400 + "merge", "merge"),
    ],
)
def test_a_part_of_the_folded_text_is_told_in_the_original(text, part):
    view = build_views(text)[0]
    start = view.text.find("merge")

    first, last = view.locate(start, start + len("merge"))

    assert text[first:last] == part


def test_every_part_of_a_folded_text_lies_in_the_original():
    text = "ﷺ ﬃ \u1100\u1161\u11a8 e\u0301\u0302 ½  \t x \r\n ｶﾞ İ ß " * 20
    view = build_views(text)[0]

    spans = [view.locate(at, at + 1) for at in range(len(view.text))]

    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)


def test_a_text_that_cannot_be_encoded_has_views_that_can():
    for view in build_views("a\ud800b \udfff \\ud83d aGVsbG8gd29ybGQsIGhvdyBhcmUgeW91Pw"):
        view.text.encode()


def test_views_are_bounded():
    text = "hello there, this is a note. "
    for _ in range(MOST_DEPTH + 3):
        text = f"<!-- {text.encode().hex()} -->"

    views = build_views(text)

    assert len(views) <= MOST_VIEWS
    assert max(len(view.trail) for view in views) == MOST_DEPTH


def test_a_plain_text_has_one_view():
    assert [view.name for view in build_views("Fix the build.\n\n- one\n- two\n")] == [""]
