from __future__ import annotations

from typing import Any

import pytest

from connector.adaptation.templates import rendered

NAN = float("nan")


@pytest.mark.parametrize(
    ("title", "genres", "words"),
    [
        ("Heat", ["Drama", "War"], "Heat. Drama, War"),
        ("Heat", ["Drama", None, " "], "Heat. Drama"),
        (" two\nlines ", ("War",), "two lines. War"),
        (b"Heat", 7, "Heat. 7"),
        ("Heat", NAN, "Heat."),
        (None, 0, ". 0"),
        (None, [], None),
        (NAN, [None, NAN], None),
        (" ", b"\xff", None),
    ],
)
def test_a_row_in_words(title: Any, genres: Any, words: str | None) -> None:
    row = {"title": title, "genres": genres}
    assert rendered("{title}. {genres}", row) == words


def test_only_rows_that_lack_nothing() -> None:
    assert rendered("{title} {year}", {"title": "Heat", "year": NAN}, whole=True) is None
    assert rendered("{title} {year}", {"title": "Heat", "year": 1995}, whole=True) == "Heat 1995"
