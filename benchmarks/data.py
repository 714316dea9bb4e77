"""Inputs of the suites: the real data where `CONNECTOR_DATA` holds it, the demo's goods elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.harness import ROOT


def real_data() -> Path | None:
    """Folder of the real data, or None."""
    folder = Path(os.environ.get("CONNECTOR_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def descriptions(count: int) -> tuple[list[str], str]:
    """Texts of mixed lengths, and where they come from."""
    folder = real_data()
    if folder is not None:
        column = pq.read_table(folder / "movies" / "items.parquet", columns=["description"]).column(0)
        texts = [text for text in column.to_pylist() if text]
        return texts[:: max(1, len(texts) // count)][:count], "film descriptions"
    return [str(text) for text in _shop(count).column("description").to_pylist()], "descriptions of drawn goods"


def pictures(count: int) -> tuple[list[bytes], str]:
    """Encoded pictures, and where they come from."""
    folder = real_data()
    if folder is not None:
        column = pq.read_table(folder / "wardrobe" / "items.parquet", columns=["image"]).column(0)
        return column.slice(0, count).to_pylist(), "photographs of clothes"
    return _shop(count).column("image").to_pylist(), "drawn goods"


def sounds(count: int) -> tuple[list[bytes], str]:
    """Encoded sounds, and where they come from."""
    folder = real_data()
    if folder is not None:
        column = pq.read_table(folder / "spoken_digits" / "clips.parquet", columns=["audio"]).column(0)
        return column.slice(0, count).to_pylist(), "spoken digits"
    from examples.demo.sounds import captioned_sounds

    return captioned_sounds(1, count).column("audio").to_pylist(), "made sounds"


def films(count: int) -> tuple[list[bytes], str]:
    """Encoded films, and where they come from."""
    folder = real_data()
    if folder is not None:
        column = pq.read_table(folder / "signs" / "clips.parquet", columns=["video"]).column(0)
        return column.slice(0, count).to_pylist(), "signed words"
    return [_film(number) for number in range(count)], "moving patterns"


def _film(seed: int, frames: int = 48, side: int = 160) -> bytes:
    import io

    import av

    pattern = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    output = io.BytesIO()
    with av.open(output, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(pattern, 3 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return output.getvalue()


def ready_vectors(count: int, dimension: int = 384, seed: int = 0) -> pa.Table:
    """`item_id`, `category`, `price` and unit `vector`s [dimension] of float32 around 64 centres."""
    generator = np.random.default_rng(seed)
    vectors = clustered(count, dimension, generator)
    flat = pa.array(vectors.reshape(-1))
    return pa.table(
        {
            "item_id": pa.array([f"i{number:07d}" for number in range(count)]),
            "category": pa.array([f"c{number % 20}" for number in range(count)]),
            "price": pa.array(generator.uniform(1, 100, count).round(2)),
            "vector": pa.FixedSizeListArray.from_arrays(flat, dimension),
        }
    )


def clustered(count: int, dimension: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Unit vectors scattered around 64 centres within 32 directions, as embeddings of a catalogue are."""
    directions = np.random.default_rng(64).normal(size=(32, dimension)) / np.sqrt(dimension)
    centres = np.random.default_rng(65).normal(size=(64, 32))
    points = (centres[generator.integers(0, 64, count)] + generator.normal(scale=0.7, size=(count, 32))) @ directions
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype(np.float32)


def _shop(count: int) -> pa.Table:
    from examples.demo.shop import catalogue

    return catalogue(seed=1, size=count)
