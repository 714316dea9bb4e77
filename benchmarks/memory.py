"""Peak memory of an ingest by the size of the catalogue, each in a process of its own, on a real Milvus and Triton."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import ready_vectors
from benchmarks.harness import ROOT, Figure, figure
from benchmarks.stores import FEATURES, milvus_server, write_repository
from connector import Connector
from connector.serving import LocalTriton, publish
from examples.demo.shop import catalogue

SMALL, LARGE = 10_000, 100_000
CHUNK = 10_000

PICTURES = """\
from connector import embedding_view
from encoders import default_contract
from feast import Entity, Field, ValueType
from feast.types import Float64, String

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
item_image = embedding_view(
    "item_image",
    entity=item,
    contract=default_contract("image"),
    inputs="image",
    fields=[Field(name="title", dtype=String), Field(name="price", dtype=Float64)],
)
"""


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Peak resident MiB of the ingesting process at a hundred thousand rows beside ten thousand."""
    figures = []
    with tempfile.TemporaryDirectory() as name, milvus_server() as server:
        folder = Path(name)
        peaks = {rows: _peak(folder, server.uri, FEATURES, _vectors(folder, rows), rows) for rows in (SMALL, LARGE)}
        figures.append(_figure("peak memory, ready vectors", peaks))
        publish(ROOT / "triton_models", "image", name="image", version=1)
        with LocalTriton(ROOT / "triton_models", ROOT / ".venv-triton", log_folder=folder / "logs") as triton:
            peaks = {
                rows: _peak(folder, server.uri, PICTURES, _pictures(folder, rows), rows, triton.grpc_url)
                for rows in (SMALL, LARGE)
            }
        figures.append(_figure("peak memory, pictures through Triton", peaks))
    return figures, {"rows": [SMALL, LARGE]}


def _figure(name: str, peaks: dict[int, float]) -> Figure:
    return figure(
        f"{name}, {LARGE:,} rows",
        peaks[LARGE],
        "MiB",
        baseline=f"{SMALL:,} rows",
        baseline_value=peaks[SMALL],
        goal="<= 1.15",
    )


def _peak(folder: Path, uri: str, features: str, path: Path, rows: int, triton: str | None = None) -> float:
    prefix = path.stem
    repository = write_repository(folder / prefix, uri, prefix, features)
    if triton is not None:
        settings = f"triton: {{url: '{triton}', model_repository: '{ROOT / 'triton_models'}'}}\n"
        (repository / "connector.yaml").write_text(settings)
    with Connector(repository) as connector:
        connector.apply()
    command = [sys.executable, "-m", "benchmarks.memory", str(repository), str(path), str(rows)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    path.unlink()
    return float(done.stdout.split()[-1])


def _vectors(folder: Path, rows: int) -> Path:
    path = folder / f"vectors{rows}.parquet"
    first = ready_vectors(CHUNK)
    with pq.ParquetWriter(path, first.schema) as writer:
        for start in range(0, rows, CHUNK):
            writer.write_table(_keyed(first, start))
    return path


def _pictures(folder: Path, rows: int) -> Path:
    """The same 1,000 drawn goods over and over, under keys of their own."""
    path = folder / f"pictures{rows}.parquet"
    first = catalogue(seed=1, size=1_000).select(["item_id", "title", "price", "image"])
    with pq.ParquetWriter(path, first.schema) as writer:
        for start in range(0, rows, len(first)):
            writer.write_table(_keyed(first, start))
    return path


def _keyed(rows: pa.Table, start: int) -> pa.Table:
    keys = pa.array([f"i{start + number:07d}" for number in range(len(rows))])
    return rows.set_column(rows.column_names.index("item_id"), "item_id", keys)


def _ingest(repository: str, path: str, rows: str) -> None:
    with Connector(repository) as connector:
        report = connector.ingest(path, entity="item")
        assert all(view.written == int(rows) for view in report.views.values()), report
    print(peak_mib())


def peak_mib() -> float:
    """Most memory this process has had resident, MiB.

    Not `ru_maxrss`, which begins at what the process that started this one had.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    _ingest(*sys.argv[1:])
