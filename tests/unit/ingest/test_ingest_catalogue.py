"""Catalogues of every form are read alike, and what cannot be read is one line that names the file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from connector.errors import CatalogueError
from connector.ingest.catalogue import Catalogue, open_catalogue
from connector.ingest.formats import BATCH_BYTES

TABLE = pa.table({"item_id": [f"i{n}" for n in range(25)], "n": [str(n) for n in range(25)]})


def read(catalogue: Catalogue, rows: int = 7) -> tuple[list[Any], list[int], dict[int, str]]:
    cells: list[Any] = []
    positions: list[int] = []
    broken: dict[int, str] = {}
    for batch in catalogue.batches(catalogue.columns, rows):
        assert len(batch) <= rows
        assert all(len(column) == len(batch) for column in batch.columns.values())
        cells += batch.columns["item_id"].to_pylist()
        positions += batch.rows.tolist()
        broken.update(batch.broken)
    return cells, positions, broken


def _write_stream(path: Path) -> None:
    with pa.ipc.new_stream(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=4)


def _write_jsonl(path: Path) -> None:
    path.write_text("\n".join(json.dumps(row) for row in TABLE.to_pylist()))


WRITERS = {
    "c.parquet": lambda p: pq.write_table(TABLE, p, row_group_size=10),
    "c.feather": lambda p: pyarrow.feather.write_feather(TABLE, str(p), chunksize=9),
    "c.arrow": _write_stream,
    "c.csv": lambda p: pyarrow.csv.write_csv(TABLE, p),
    "c.tsv": lambda p: TABLE.to_pandas().to_csv(p, sep="\t", index=False),
    "c.csv.gz": lambda p: p.write_bytes(gzip.compress(TABLE.to_pandas().to_csv(index=False).encode())),
    "c.jsonl": _write_jsonl,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_file_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    catalogue = open_catalogue(tmp_path / name)
    cells, positions, broken = read(catalogue)
    assert catalogue.columns == ("item_id", "n")
    assert cells == TABLE["item_id"].to_pylist()
    assert positions == list(range(25))
    assert broken == {}
    assert catalogue.location is not None
    assert catalogue.location.folder == str(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        TABLE,
        TABLE.to_reader(max_chunksize=11),
        TABLE.to_batches()[0],
        pa.dataset.dataset(TABLE),
        TABLE.to_pandas(),
        TABLE.to_pylist(),
    ],
    ids=lambda source: type(source).__name__,
)
def test_tables_in_memory_give_the_same_rows(source: Any) -> None:
    assert read(open_catalogue(source))[:2] == (TABLE["item_id"].to_pylist(), list(range(25)))


def test_a_folder_and_a_glob_read_every_file_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    (folder / "deep").mkdir(parents=True)
    pq.write_table(TABLE.slice(0, 10), folder / "a.parquet")
    pq.write_table(TABLE.slice(10, 10), folder / "b.parquet")
    pyarrow.csv.write_csv(TABLE.slice(20), folder / "deep" / "c.csv")
    (folder / "_SUCCESS").write_text("")
    (folder / ".hidden.parquet").write_text("no")
    (folder / "notes.txt").write_text("no")
    cells, positions, _ = read(open_catalogue(folder))
    assert (cells, positions) == (TABLE["item_id"].to_pylist(), list(range(25)))
    globbed = open_catalogue(str(folder / "*.parquet"))
    assert read(globbed)[0] == TABLE["item_id"].to_pylist()[:20]
    assert globbed.total_rows == 20
    assert globbed.location is not None
    assert globbed.location.folder == str(folder)


def test_a_memory_url_is_read() -> None:
    with fsspec.open("memory://ingest-test/c.parquet", "wb") as file:
        pq.write_table(TABLE, file)
    try:
        catalogue = open_catalogue("memory://ingest-test/c.parquet")
        assert read(catalogue)[0] == TABLE["item_id"].to_pylist()
        assert catalogue.location is not None
        assert not catalogue.location.local
    finally:
        fsspec.filesystem("memory").rm("/ingest-test", recursive=True)


def test_a_file_without_a_suffix_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "export")
    assert open_catalogue(tmp_path / "export").total_rows == 25


def test_mapping_renames_and_one_column_may_serve_twice() -> None:
    catalogue = open_catalogue(TABLE, mapping={"title": "n", "name": "n"})
    batch = next(catalogue.batches(("item_id", "title", "name", "absent"), 100))
    assert batch.columns["title"].equals(batch.columns["name"])
    assert set(batch.columns) == {"item_id", "title", "name"}


def test_a_column_that_one_file_lacks_is_left_out_of_its_batches(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    pq.write_table(TABLE.select(["item_id"]), tmp_path / "b.parquet")
    batches = list(open_catalogue(tmp_path).batches(("item_id", "n"), 100))
    assert [set(batch.columns) for batch in batches] == [{"item_id", "n"}, {"item_id"}]


def test_bad_csv_rows_keep_their_place_and_take_nothing_with_them(tmp_path: Path) -> None:
    lines = [f'{n},"two\nlines"' if n == 4 else f"{n},x" for n in range(30)]
    lines[3] = "only one cell"
    lines[29] = "1,2,3"
    (tmp_path / "c.csv").write_bytes("\n".join(["item_id,n", *lines, ""]).encode().replace(b"7,x", b"7,\xff\xfe"))
    cells, positions, broken = read(open_catalogue(tmp_path / "c.csv"))
    assert positions == [n for n in range(30) if n not in (3, 29)]
    assert cells == [str(n) for n in positions]
    assert set(broken) == {3, 29}
    assert "only one cell" in broken[3]


def test_a_csv_row_that_is_no_utf8_and_too_long_takes_nothing_with_it(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes("item_id,n\nå,1\n".encode() + b"b,\xff\xfe,3\nc,\xff\nd,\xa9")
    (batch, *_) = open_catalogue(tmp_path / "c.csv").batches(("item_id", "n"), 100)
    assert batch.columns["item_id"].to_pylist() == ["å", "c", "d"]
    assert batch.columns["n"].cast(pa.binary()).to_pylist() == [b"1", b"\xff", b"\xa9"]
    assert {position: "3 cells" in reason for position, reason in batch.broken.items()} == {1: True}


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_quote_that_is_never_closed_is_told_of(tmp_path: Path, end: str) -> None:
    rows = ["item_id,n", "a,1", 'b,"24 inch', "c,3", "d,4"]
    (tmp_path / "c.csv").write_text("\n".join(rows) + end)
    cells, positions, broken = read(open_catalogue(tmp_path / "c.csv"))
    assert (cells, positions) == (["a"], [0])
    assert broken == {1: "a quote is opened and never closed; 3 lines are in it"}
    (tmp_path / "c.csv").write_text("\n".join(rows).replace('b,"24', '"b,24') + end)
    _, _, broken = read(open_catalogue(tmp_path / "c.csv"))
    assert "1 cells over 3 lines" in broken[1] or "1 cells over 4 lines" in broken[1]
    (tmp_path / "c.csv").write_text("\n".join([*rows, 'e,5"']) + end)
    cells, _, broken = read(open_catalogue(tmp_path / "c.csv"))
    assert (cells, broken) == (["a", "b"], {})


@pytest.mark.parametrize("text", ["item_id,n\na,1\n", '"item_id",n\na,1\n', '{"item_id": "a", "n": 1}\n'])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, text: str) -> None:
    path = tmp_path / ("c.jsonl" if text.startswith("{") else "c.csv")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read(open_catalogue(path)) == (["a"], [0], {})


def test_names_that_only_late_lines_have(tmp_path: Path) -> None:
    lines = [f'{{"item_id": "{n}"}}' for n in range(3000)] + ['{"item_id": "x", "late": 1}']
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    catalogue = open_catalogue(tmp_path / "c.jsonl")
    assert catalogue.columns == ("item_id", "late")
    (tmp_path / "c.jsonl").write_text("\n".join(f'{{"item_id": 1, "c{n}": 2}}' for n in range(10_001)))
    with pytest.raises(CatalogueError, match="different names"):
        open_catalogue(tmp_path / "c.jsonl")


def test_bad_json_lines_keep_their_place(tmp_path: Path) -> None:
    rows = [b'{"item_id": 1}', b"[1]", b"{no", b'{"item_id": "x", "n": "\\ud800"}', b"\xff", b"[" * 100_000, b""]
    (tmp_path / "c.jsonl").write_bytes(b"\n".join(rows))
    cells, positions, broken = read(open_catalogue(tmp_path / "c.jsonl"))
    assert (cells, positions) == (["1", "x"], [0, 3])
    assert set(broken) == {1, 2, 4, 5}


def test_names_with_dots_and_nested_columns(tmp_path: Path) -> None:
    table = pa.table({"item_id": ["a"], "a.b": [1], "image": [{"bytes": b"x", "path": None}], "bytes": [2]})
    pq.write_table(table, tmp_path / "c.parquet")
    (batch,) = open_catalogue(tmp_path / "c.parquet").batches(("item_id", "a.b", "image"), 10)
    assert {name: column.to_pylist() for name, column in batch.columns.items()} == {
        "item_id": ["a"],
        "a.b": [1],
        "image": [{"bytes": b"x", "path": None}],
    }


def test_pandas_nulls_of_every_kind_are_null() -> None:
    frame = pd.DataFrame({"item_id": [pd.NA, pd.NaT, None, float("nan"), "a", 1]}, dtype=object)
    (batch,) = open_catalogue(frame).batches(("item_id",), 10)
    assert batch.columns["item_id"].to_pylist() == [None] * 4 + ["a", "1"]


def test_columns_of_mixed_types_become_text() -> None:
    frame = pd.DataFrame({"item_id": ["a", 2, None], "v": [[1.0, 2.0], np.array([1.0]), "x"]}, dtype=object)
    batch = next(open_catalogue(frame).batches(("item_id", "v"), 10))
    assert batch.columns["item_id"].to_pylist() == ["a", "2", None]
    assert batch.columns["v"].to_pylist() == ["[1.0, 2.0]", "[1.0]", "x"]


def test_dictionaries_views_and_extension_types_are_unwrapped() -> None:
    table = pa.table(
        {
            "item_id": pa.array(["a", "b", "a"]).dictionary_encode(),
            "view": pa.array(["x", None, "z"], pa.string_view()),
            "blob": pa.array([b"x", None, b"z"], pa.binary_view()),
            "tensor": pa.ExtensionArray.from_storage(
                pa.fixed_shape_tensor(pa.float32(), [2]), pa.array([[1, 2]] * 3, pa.list_(pa.float32(), 2))
            ),
        }
    )
    columns = next(open_catalogue(table).batches(table.column_names, 10)).columns
    types = [str(columns[name].type) for name in table.column_names]
    assert types == ["string", "string", "binary", "fixed_size_list<item: float>[2]"]
    assert columns["view"].to_pylist() == ["x", None, "z"]


def test_wide_cells_make_smaller_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blobs = [rng.bytes(1024 * 1024) for _ in range(48)]
    pq.write_table(pa.table({"item_id": range(48), "image": blobs}), tmp_path / "c.parquet", compression="none")
    sizes = [len(b) for b in open_catalogue(tmp_path / "c.parquet").batches(("item_id", "image"), 512)]
    assert sum(sizes) == 48
    assert max(sizes) <= BATCH_BYTES // (1024 * 1024)


def broken_parquet(path: Path) -> None:
    path.write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")


UNREADABLE = {
    "absent.parquet": (lambda p: None, "no such file"),
    "c.parquet": (broken_parquet, "broken Parquet"),
    "c.arrow": (lambda p: p.write_bytes(b"ARROW1\0\0rubbish"), "broken Arrow"),
    "c.xlsx": (lambda p: p.write_bytes(b"PK"), "unknown format"),
    "empty.csv": (lambda p: p.write_bytes(b""), "not readable as CSV"),
    "utf16.csv": (lambda p: p.write_bytes("item_id,n\n1,2\n".encode("utf-16")), "not UTF-8"),
    "latin.csv": (lambda p: p.write_bytes(b"item_id,n\xe9\n1,2\n"), "header is not UTF-8"),
    "doubled.csv": (lambda p: p.write_bytes(b"item_id,n,n\n1,2,3\n"), "appears twice"),
    "broken.csv.gz": (lambda p: p.write_bytes(b"\x1f\x8b\x08rubbish"), "c"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_one_line_with_the_file(tmp_path: Path, name: str) -> None:
    make, says = UNREADABLE[name]
    make(tmp_path / name)
    with pytest.raises(CatalogueError, match=says) as caught:
        open_catalogue(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("s3://bucket/c.parquet", r"multimodal-connector\[s3\]"),
        ("nothing://c.parquet", "cannot be read|can be read"),
        (42, "type int"),
        ([1, 2], "type list"),
    ],
)
def test_a_source_of_no_known_kind_is_one_line(source: Any, says: str) -> None:
    with pytest.raises(CatalogueError, match=says):
        open_catalogue(source)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no such file, folder or glob"):
        open_catalogue(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CatalogueError, match="no catalogue file in it"):
        open_catalogue(tmp_path)


def test_parquet_that_breaks_off_midway_names_the_row(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    table = pa.table({"item_id": [f"{n:040d}" for n in range(5000)]})
    pq.write_table(table, path, row_group_size=1000, compression="zstd", use_dictionary=False)
    start = pq.read_metadata(path).row_group(3).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start + 2 : start + 200] = b"\xff" * 198
    path.write_bytes(data)
    with pytest.raises(CatalogueError, match=r"c\.parquet: broken Parquet after row \d+"):
        read(open_catalogue(path), 500)


def test_wrong_offsets_in_an_arrow_file_are_found_before_they_are_followed(tmp_path: Path) -> None:
    sink = tmp_path / "c.arrow"
    with pa.ipc.new_file(str(sink), pa.schema({"item_id": pa.string()})) as writer:
        writer.write_batch(pa.record_batch({"item_id": pa.array(["abcd", "efgh"])}))
    data = sink.read_bytes()
    good = np.array([0, 4, 8], dtype=np.int32).tobytes()
    assert data.count(good) == 1
    sink.write_bytes(data.replace(good, np.array([0, 4, 1 << 30], dtype=np.int32).tobytes()))
    with pytest.raises(CatalogueError, match="broken Arrow file"):
        read(open_catalogue(sink))


def test_an_absent_column_suggests_the_nearest() -> None:
    catalogue = open_catalogue(TABLE)
    with pytest.raises(CatalogueError, match="did you mean 'item_id'"):
        catalogue.require("itemid", "the key", "name it")
    with pytest.raises(CatalogueError, match="no column 'titel' to use as 'title'"):
        open_catalogue(TABLE, mapping={"title": "titel"})
