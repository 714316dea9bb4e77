"""Raw inputs of a batch: texts and media by row, one modality or several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from connector.ingest.batch import Problem, cell, plain
from connector.ingest.media import MediaSource
from connector.ingest.remote import MediaError
from connector.ingest.texts import read_texts

Columns = Mapping[str, pa.Array]
Rows = NDArray[Any]


class PartReader:
    """Reads the inputs of one view.

    Args:
        view: whose problems they are.
        media: where media cells are read.
        max_text_bytes: longer texts are problems.
    """

    def __init__(self, view: str, media: MediaSource, max_text_bytes: int) -> None:
        self._view, self._media, self._max_text_bytes = view, media, max_text_bytes

    def read(
        self, modality: str, inputs: Sequence[str], columns: Columns, candidates: Rows
    ) -> Iterator[tuple[int, Any]]:
        """Row and its text, the bytes of its file, or the `Problem` with it; rows that have none are left out.

        Args:
            modality: `text`, whose inputs are joined by newlines, or another, of which the first that a row has counts.
            candidates: int64, rows of the batch, ascending.
        """
        if modality == "text":
            return self._texts(inputs, columns, candidates)
        return self._files(inputs, columns, candidates)

    def read_together(
        self, parts: Mapping[str, Sequence[str]], columns: Columns, candidates: Rows
    ) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
        """Every candidate row and its parts by modality, those that it has; or the first problem with one of them.

        Args:
            parts: modality → catalogue columns.
        """
        streams = {name: self.read(name, inputs, columns, candidates) for name, inputs in parts.items()}
        heads = {name: next(stream, None) for name, stream in streams.items()}
        for row in candidates.tolist():
            found: dict[str, Any] = {}
            problem: Problem | None = None
            for name, stream in streams.items():
                head = heads[name]
                if head is None or head[0] != row:
                    continue
                heads[name] = next(stream, None)
                if isinstance(head[1], Problem):
                    problem = problem or head[1]
                else:
                    found[name] = head[1]
            yield row, problem or found

    def _texts(self, inputs: Sequence[str], columns: Columns, candidates: Rows) -> Iterator[tuple[int, Any]]:
        texts, faults = read_texts(dict(columns), inputs, candidates, self._max_text_bytes)
        by_row = {fault.index: fault for fault in faults}
        for row, text in zip(candidates.tolist(), texts, strict=True):
            if row in by_row:
                fault = by_row[row]
                yield row, Problem(row, fault.kind, fault.reason, fault.column, self._view)
            elif text is not None:
                yield row, text

    def _files(self, inputs: Sequence[str], columns: Columns, candidates: Rows) -> Iterator[tuple[int, Any]]:
        """Media of the first input column that has some."""
        found = [(name, columns[name]) for name in inputs if name in columns]
        origins: deque[tuple[int, str]] = deque()

        def cells() -> Iterator[Any]:
            for row in candidates.tolist():
                for name, column in found:
                    value = _media_cell(column, row)
                    if not _is_absent(value):
                        origins.append((row, name))
                        yield value
                        break

        for data in self._media.fetch_all(cells()):
            row, name = origins.popleft()
            if isinstance(data, MediaError):
                yield row, Problem(row, "bad media", plain(data), name, self._view)
            else:
                yield row, data


def _media_cell(column: pa.Array, row: int) -> Any:
    value = cell(column, row)
    if isinstance(value, bytes) and (pt.is_string(column.type) or pt.is_large_string(column.type)):
        return MediaError("a path that is not UTF-8")
    return value


def _is_absent(value: Any) -> bool:
    """Null, an empty path, or a struct of nulls; empty bytes are a broken file, not an absent one."""
    if isinstance(value, dict):
        return all(_is_absent(value.get(name)) for name in ("bytes", "path"))
    return value is None or (isinstance(value, str) and not value.strip())
