"""The shape of a new feature repository: what there is to know before its files are written."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from connector.errors import ConfigurationError
from connector.scaffold.media import Medium
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP, RESULT_COLUMNS

FeastType = Literal["Bool", "Int32", "Int64", "Float32", "Float64", "String", "UnixTimestamp"]

RESERVED_FIELDS = {EVENT_TIMESTAMP, CREATED_TIMESTAMP, *RESULT_COLUMNS}

MAX_NAME = 48


@dataclass(frozen=True)
class Column:
    """A catalogue column as a Feast field.

    Attributes:
        name: of the field.
        source: of the column, where its own name cannot be a field's; empty where it can.
        middle: a number from the middle of a column of numbers, for examples of filters.
    """

    name: str
    dtype: FeastType
    source: str = ""
    middle: float | None = None

    @property
    def column(self) -> str:
        """Name of the catalogue column."""
        return self.source or self.name


@dataclass(frozen=True)
class Shape:
    """What the files of a new repository say.

    Attributes:
        project: Feast project.
        entity: Feast entity; the spaces are called `<entity>_text`, `<entity>_image`, …
        key: join key.
        text: text columns, encoded together.
        media: column of pictures, sounds or films → which of them; one space each.
        carried: scalars beside every vector: returned by searches and open to filters.
        content: scalars of the content view: texts and the carried ones.
        left_out: columns that nothing was made of, with the reason.
    """

    project: str
    entity: str
    key: Column
    text: tuple[str, ...] = ()
    media: dict[str, Medium] = field(default_factory=dict)
    carried: tuple[Column, ...] = ()
    content: tuple[Column, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.text and not self.media:
            raise ConfigurationError(
                "no column of text, pictures, sounds or films was found to make an embedding space of; "
                "write features.py by hand after `connector init DIR` without a catalogue"
            )

    @property
    def renamed(self) -> dict[str, str]:
        """Field name → catalogue column, where they differ: the `mapping` of an ingest."""
        return {each.name: each.column for each in (self.key, *self.carried, *self.content) if each.source}

    def media_spaces(self, *wanted: Medium) -> dict[str, str]:
        """Column → space name, of these media or of all; the first of each medium is `<entity>_<medium>`."""
        names: dict[str, str] = {}
        taken = {f"{self.entity}_text", f"{self.entity}_content"}
        seen: set[Medium] = set()
        for column, medium in self.media.items():
            first = medium not in seen
            names[column] = unused(f"{self.entity}_{medium if first else identifier(column)}", taken)
            taken.add(names[column])
            seen.add(medium)
        return {column: name for column, name in names.items() if not wanted or self.media[column] in wanted}

    def spaces(self) -> list[str]:
        """Names of all spaces, that of the text first."""
        return [*([f"{self.entity}_text"] if self.text else []), *self.media_spaces().values()]


def generic_shop(project: str = "shop") -> Shape:
    """The shape that `connector init` writes when it is given no catalogue."""
    attributes = tuple(Column(name, "String") for name in ("kind", "colour", "pattern", "material"))
    carried = (Column("title", "String"), *attributes, Column("price", "Float64", middle=50))
    return Shape(
        project=project,
        entity="item",
        key=Column("item_id", "String"),
        text=("title", "description"),
        media={"image": "image"},
        carried=carried,
        content=(carried[0], Column("description", "String"), *carried[1:]),
    )


def identifier(text: str, fallback: str = "column") -> str:
    """A lower-case ASCII name that Python, Feast, Milvus and SQL all take: letters, digits, underscores."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower().encode("ascii", "ignore").decode()).strip("_")[:MAX_NAME].strip("_")
    if not name:
        return fallback
    if name[0].isdigit() or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        name = f"{fallback}_{name}"
    return name


def is_field_name(text: str) -> bool:
    """Whether a catalogue column can be a field under its own name."""
    return (
        re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text) is not None
        and len(text) <= MAX_NAME
        and text not in RESERVED_FIELDS
        and not keyword.iskeyword(text)
    )


def unused(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, … that is not taken."""
    names = set(taken)
    if name not in names:
        return name
    number = 2
    while f"{name}_{number}" in names:
        number += 1
    return f"{name}_{number}"
