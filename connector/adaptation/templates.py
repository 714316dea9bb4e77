"""The words of a row: templates over its columns, filled in alike for every job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.adaptation.spec import columns_of


def rendered(template: str, row: Mapping[str, Any], *, whole: bool = False) -> str | None:
    """A template filled in, its blanks made single; None where every column that it names is empty.

    Args:
        row: the cells by column; null, NaN, blanks and bytes that are no text are empty, lists are joined by commas.
        whole: None, too, where only some of the columns are filled.
    """
    words = {name: _worded(row[name]) for name in columns_of(template)}
    filled = [bool(word) for word in words.values()]
    if not (all(filled) if whole else any(filled)):
        return None
    return " ".join(template.format(**words).split())


def _worded(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode().strip()
        except UnicodeDecodeError:
            return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(word for word in map(_worded, value) if word)
    return "" if value is None or value != value else str(value).strip()
