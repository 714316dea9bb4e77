"""'Did you mean …' for names that are not there."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(name: str, known: Iterable[str]) -> str:
    """End of an error line: the closest known names, or all of them when they are few."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:12])
    return f"there are: {shown}{', …' if len(names) > 12 else ''}"
