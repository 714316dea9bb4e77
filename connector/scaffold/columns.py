"""What one catalogue column is, judged by its type, its name and a sample of its cells."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as pt

from connector.scaffold.media import Medium, medium_of_bytes, medium_of_name
from connector.scaffold.shape import FeastType

Role = Literal["text", "image", "audio", "video", "scalar", "category", "other"]

_TEXT_NAMES = (
    "title", "name", "headline", "caption", "description", "summary", "text", "body", "abstract", "overview", "plot",
    "synopsis", "about", "label", "subtitle",
)  # fmt: skip
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BOOLEANS = {"true", "false"}

MAX_CATEGORY_LENGTH = 64
MAX_LABEL_LENGTH = 120
FILE_SAMPLE = 24


@dataclass(frozen=True)
class Judged:
    """A column's role.

    Attributes:
        dtype: Feast type where it can be a field.
        label: a short text that tells one item from another, worth returning with every hit.
        reason: why nothing is made of it, for role `other`.
    """

    role: Role
    dtype: FeastType | None = None
    label: bool = False
    reason: str = ""


def judge(name: str, cells: pa.Array) -> Judged:
    """Judge a column by its name and sampled cells."""
    kind = cells.type
    scalar = _scalar_type(kind)
    if scalar is not None:
        return Judged("scalar", scalar)
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return _binary(cells)
    if pt.is_string(kind) or pt.is_large_string(kind):
        return _string(name, texts(cells))
    if pt.is_null(kind):
        return Judged("other", reason="empty in the sample")
    if (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)) and pt.is_floating(kind.value_type):
        return Judged("other", reason="looks like ready vectors; declare it by embedding_view(vectors=...)")
    return Judged("other", reason=f"type {kind} has no plain field")


def texts(cells: pa.Array) -> list[str]:
    """Non-null cells of a string column; bytes that are not UTF-8 are replaced."""
    raw = cells.cast(pa.large_binary()) if pt.is_large_string(cells.type) else cells.view(pa.binary())
    return [cell.decode("utf-8", "replace") for cell in raw.to_pylist() if cell is not None]


def middle(cells: pa.Array) -> float | None:
    """The median of a column of numbers, as they are or written out; None for anything else."""
    if pt.is_string(cells.type) or pt.is_large_string(cells.type):
        written = [value.strip() for value in texts(cells)]
        values = [float(value) for value in written if _NUMBER.fullmatch(value)]
    elif pt.is_integer(cells.type) or pt.is_floating(cells.type) or pt.is_decimal(cells.type):
        values = [float(value) for value in cells.to_pylist() if value is not None]
    else:
        return None
    finite = sorted(value for value in values if isfinite(value))
    return finite[len(finite) // 2] if finite else None


def key_type(cells: pa.Array) -> FeastType | None:
    """Feast type of a column as a join key, or None where it cannot be one."""
    if pt.is_integer(cells.type):
        return "Int64"
    return "String" if pt.is_string(cells.type) or pt.is_large_string(cells.type) else None


def is_unique(cells: pa.Array) -> bool:
    """Whether a column could be a key: no nulls, nothing twice."""
    values: Sequence[Any] = cells.to_pylist() if pt.is_integer(cells.type) else texts(cells)
    return cells.null_count == 0 and 0 < len(values) == len(set(values)) and "" not in values


def _scalar_type(kind: pa.DataType) -> FeastType | None:
    if pt.is_boolean(kind):
        return "Bool"
    if pt.is_integer(kind):
        return "Int32" if kind.bit_width < 32 or kind == pa.int32() else "Int64"
    if pt.is_decimal(kind) or pt.is_float64(kind):
        return "Float64"
    if pt.is_floating(kind):
        return "Float32"
    if pt.is_timestamp(kind) or pt.is_date(kind):
        return "UnixTimestamp"
    return None


def _binary(cells: pa.Array) -> Judged:
    sample = [bytes(cell) for cell in cells.drop_null().slice(0, FILE_SAMPLE).to_pylist()]
    if not sample:
        return Judged("other", reason="empty in the sample")
    medium = _most([medium_of_bytes(cell) for cell in sample])
    return Judged(medium) if medium else Judged("other", reason="bytes that are no pictures, sounds or films")


def _string(name: str, values: list[str]) -> Judged:
    filled = [value.strip() for value in values if value.strip()]
    if not filled:
        return Judged("other", reason="empty in the sample")
    medium = _most([medium_of_name(value) for value in filled])
    if medium:
        return Judged(medium)
    written = _written_scalar(filled)
    if written is not None:
        return Judged("scalar", written)
    if sum("://" in value and " " not in value for value in filled) * 2 >= len(filled):
        return Judged("other", reason="addresses, which say nothing to an encoder")
    length = sum(map(len, filled)) / len(filled)
    distinct = len(set(filled))
    named = any(part in _TEXT_NAMES for part in re.split(r"[^a-z]+", name.lower()))
    repeated = distinct <= max(len(filled) // 2, 1)
    if length <= MAX_CATEGORY_LENGTH and repeated and not (named and distinct > 50):
        return Judged("category", "String")
    words = sum(len(value.split()) for value in filled) / len(filled)
    if named or words >= 3:
        return Judged("text", "String", label=length <= MAX_LABEL_LENGTH)
    if length <= MAX_CATEGORY_LENGTH:
        return Judged("category", "String")
    return Judged("other", reason="long strings that are neither text nor categories")


def _most(media: Sequence[Medium | None]) -> Medium | None:
    """The medium of at least half of the cells."""
    for medium, count in Counter(each for each in media if each is not None).most_common(1):
        return medium if count * 2 >= len(media) else None
    return None


def _written_scalar(values: list[str]) -> FeastType | None:
    """Type of numbers, booleans and times that are written out, as in CSV."""
    if all(value.lower() in _BOOLEANS for value in values):
        return "Bool"
    if all(_INTEGER.fullmatch(value) for value in values):
        padded = any(len(value) > 1 and value.startswith("0") for value in values)
        return None if padded else "Int64"
    if all(_NUMBER.fullmatch(value) for value in values):
        return "Float64"
    return "UnixTimestamp" if all(_is_time(value) for value in values) else None


def _is_time(value: str) -> bool:
    if len(value) < 10 or value[4:5] != "-":
        return False
    try:
        datetime.fromisoformat(value.removesuffix("Z"))
    except ValueError:
        return False
    return True
