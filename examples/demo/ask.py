"""The demo's questions: put to the connector, answers kept with what they should have been."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from connector import Connector
from connector.spaces import EmbeddingSpace
from examples.demo.queries import Query

K = 10
FILES = {"image": "picture", "audio": "sound", "video": "film"}


@dataclass(frozen=True)
class Answer:
    """One question as it was asked of the given spaces.

    Attributes:
        group: heading it stands under in the report.
        hits: the result table's rows.
        milliseconds: wall-clock time of the search, encoding included.
        recall: share of the right answers among the first ten; None where no answer is known.
    """

    group: str
    spaces: tuple[str, ...]
    text: str | None
    image: bytes | None
    where: str | None
    hits: list[dict[str, Any]]
    milliseconds: float
    recall: float | None = None
    relevant: frozenset[str] = field(default_factory=frozenset)


def ask_shop(connector: Connector, queries: Sequence[Query]) -> list[Answer]:
    """Put every question to each way of searching that can answer it."""
    answers: list[Answer] = []
    for query in queries:
        if query.asks == "text":
            answers.append(_ask(connector, "words → words", "item_text", query))
            if query.visible:
                answers.append(_ask(connector, "words → pictures", "item_image", query))
            answers.append(_ask(connector, "words → both, fused", {"item_text": 0.7, "item_image": 0.3}, query))
        elif query.asks == "filter":
            answers.append(_ask(connector, "words and a filter → words", "item_text", query))
        else:
            answers.append(_ask(connector, "picture → pictures", "item_image", query))
    return answers


def ask_catalogue(
    connector: Connector, table: pa.Table, key: str, spaces: Mapping[str, EmbeddingSpace]
) -> list[Answer]:
    """On a catalogue whose answers are not known: items found by their own words and files, and by likeness."""
    answers: list[Answer] = []
    for row in table.to_pylist():
        for name, space in spaces.items():
            first = row.get(space.inputs[0])
            if not first:
                continue
            if space.contract.modality == "text":
                answers.append(_search(connector, "words of an item", name, text=str(first)[:200]))
            elif isinstance(first, bytes):
                medium = space.contract.modality
                answers.append(_search(connector, f"{FILES[medium]} of an item", name, **{medium: first}))
    for row in table.slice(0, 3).to_pylist():
        for name in spaces:
            answers.append(_search(connector, f"items like {row[key]}", name, item_id=row[key]))
    return answers


def _ask(connector: Connector, group: str, spaces: str | dict[str, float], query: Query) -> Answer:
    answer = _search(connector, group, spaces, text=query.text, image=query.image, where=query.where)
    found = [str(hit["item_id"]) for hit in answer.hits]
    return Answer(**{**vars(answer), "recall": query.recall(found), "relevant": query.relevant})


def _search(connector: Connector, group: str, spaces: str | dict[str, float], **asked: Any) -> Answer:
    start = time.perf_counter()
    hits = connector.search(spaces, k=K, **asked)
    milliseconds = (time.perf_counter() - start) * 1000
    return Answer(
        group=group,
        spaces=(spaces,) if isinstance(spaces, str) else tuple(spaces),
        text=asked.get("text") or (f"like {asked['item_id']}" if asked.get("item_id") is not None else None),
        image=asked.get("image"),
        where=asked.get("where"),
        hits=hits.to_pylist(),
        milliseconds=milliseconds,
    )
