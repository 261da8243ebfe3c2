"""What comes from elsewhere does not steer a reader's terminal."""

from __future__ import annotations

import pytest

from autogit.model.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, büro, 日本", "plain, büro, 日本"),
        ("\x1b[31mred\x1b]0;title\x07", "\\027[31mred\\027]0;title\\007"),
        ("two\nlines", "two\nlines"),
        ("back\rover", "back\\013over"),
        ("\u202eright to left", "\\8238right to left"),
    ],
)
def test_signs_that_steer_are_written_as_numbers(text, shown):
    assert printable(text) == shown
