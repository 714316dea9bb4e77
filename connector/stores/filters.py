"""Filters: SQL WHERE text → a small checked tree, which stores compile to their own language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Filter:
    """Placeholder replaced by the stores room."""

    tree: Any
