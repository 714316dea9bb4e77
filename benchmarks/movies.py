"""The films, their likes and their words, laid out in a working folder as the specs in examples/pretrain name them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.data import real_data
from connector.evaluation import InteractionSource, Split, read_interactions, time_split

FILES = ("ratings.parquet", "items.parquet")
CONTENT = "content.parquet"
CHARACTERS = 300


def prepare(work: Path) -> None:
    """Copy the films and encode their words, once.

    Raises:
        SystemExit: the real data is not there.
    """
    data = real_data()
    if data is None:
        raise SystemExit("the films are not here: set CONNECTOR_DATA to the folder of the real data")
    work.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if not (work / name).exists():
            shutil.copyfile(data / "movies" / name, work / name)
    if not (work / CONTENT).exists():
        _encode(work)


def split(work: Path) -> tuple[Split, list[str]]:
    """Likes (rating ≥ 4) with the newest fifth of each user's held out, and the films' ids by number."""
    ids = pq.read_table(work / "items.parquet", columns=["item_id"]).column(0).to_pylist()
    source = InteractionSource(path=str(work / "ratings.parquet"), value="rating", at_least=4)
    found = read_interactions(source, ids)
    return time_split(found.histories, len(found.items), 0.2), found.items


def content(work: Path, items: list[str]) -> NDArray[np.float32]:
    """Text vectors of the films, in the order of `items`."""
    table = pq.read_table(work / CONTENT)
    by_id = dict(
        zip(table["item_id"].to_pylist(), np.stack(table["vector"].to_numpy(zero_copy_only=False)), strict=True)
    )
    return np.stack([by_id[item] for item in items])


def _encode(work: Path) -> None:
    import encoders

    films = pq.read_table(work / "items.parquet").to_pylist()
    words = [
        f"{film['title']}. {', '.join(film['genres'] or ())}. {(film['description'] or '')[:CHARACTERS]}"
        for film in films
    ]
    with encoders.load("text") as text:
        vectors = np.concatenate([text.encode(words[start : start + 128]) for start in range(0, len(words), 128)])
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    table = pa.table({"item_id": [film["item_id"] for film in films], "vector": flat})
    temporary = work / f".{CONTENT}"
    pq.write_table(table, temporary)
    temporary.replace(work / CONTENT)
