"""Whole runs over a small store: every row ends in exactly one place, and the report says where."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.config import IngestSettings
from connector.errors import (
    BadRowsError,
    CatalogueError,
    ConfigurationError,
    ContractMismatchError,
    SchemaMismatchError,
    ServerUnavailableError,
    StoreUnavailableError,
    StrictIngestError,
)
from connector.ingest import read_dead_letters, space_target
from connector.ingest.writer import PART_ROWS
from connector.spaces import FieldSpec
from connector.stores.base import WriteResult
from encoders.base import EncodeResult
from encoders.contract import external_contract
from tests.unit.ingest.kit import DIMENSION, Bench, HashEncoder, MemoryLog, make_content, make_space

Make = Callable[..., Bench]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)


def letters(report: Any) -> list[dict[str, Any]]:
    return [] if report.dead_letter_path is None else read_dead_letters(report.dead_letter_path).to_pylist()


def conserved(report: Any) -> bool:
    taking_part = [view for view in report.views.values() if not view.skipped]
    return all(v.written + v.stale + v.absent + v.dead == report.rows for v in taking_part)


def left_behind(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*.tmp")]


def test_text_image_and_plain_views_from_one_catalogue(bench: Make) -> None:
    one = bench(
        make_space(inputs=("title", "about"), fields={"price": "Float64"}),
        make_space("item_image", modality="image", inputs=("image",)),
        make_content({"title": "String", "colour": "String"}),
    )
    table = pa.table(
        {
            "item_id": ["a", "b", "c"],
            "title": ["red", "blue", None],
            "about": ["dress", "", " "],
            "price": [1, 2, 3],
            "image": [b"png1", None, b"png3"],
        }
    )
    report = one.ingest(table, now=NOW, run_id="r1")
    assert conserved(report)
    assert {n: (v.written, v.absent, v.dead) for n, v in report.views.items()} == {
        "item_text": (2, 1, 0),
        "item_image": (2, 1, 0),
        "item_content": (3, 0, 0),
    }
    assert report.views["item_content"].missing == ["colour"]
    row = one.rows("item_text")["a"]
    contract = one.targets[0].space.contract  # type: ignore[union-attr]
    expected = HashEncoder(contract).encode(["red\ndress"])[0]
    assert row["item_text_embedding"] == expected.tolist()
    assert (row["price"], row["event_timestamp"], row["created_timestamp"]) == (1.0, NOW, NOW)
    assert one.rows("item_content")["b"]["colour"] is None
    assert one.log("item_text").parts["r1-000000"].schema.field("item_text_embedding").type == pa.list_(
        pa.float32(), DIMENSION
    )
    assert (report.dead_letters, report.dead_letter_path, left_behind(one.folder)) == (0, None, [])


def test_every_kind_of_bad_row_is_set_aside_with_its_reason(bench: Make, tmp_path: Path) -> None:
    one = bench(make_space(fields={"price": "Float64"}), make_space("item_image", modality="image", inputs=("image",)))
    rows = [
        ("a", "fine", "1", b"ok"),
        (None, "fine", "1", b"ok"),
        ("a", "again", "1", b"ok"),
        ("", "fine", "1", b"ok"),
        ("x" * 600, "fine", "1", b"ok"),
        ("b", "BAD", "1", b"ok"),
        ("c", "NAN", "1", b"ok"),
        ("d", "t" * 1_000_000, "1", b"ok"),
        ("e", "fine", "cheap", b"ok"),
        ("f", "fine", "1", b""),
        ("g", "fine", "1", b"x" * 2000),
        ("h", "fine", "1", b"BAD"),
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = pa.table(dict(zip(("item_id", "title", "price", "image"), columns, strict=True)))
    report = one.ingest(table, settings=IngestSettings(max_media_bytes=1000), now=NOW, run_id="r1")
    assert conserved(report)
    assert set(one.rows("item_text")) == {"a", "f", "g", "h"}
    assert set(one.rows("item_image")) == {"a", "b", "c", "d", "e"}
    found = {(r["row"], r["space"]): (r["key"] and r["key"][:3], r["column"], r["kind"]) for r in letters(report)}
    assert found == {
        (1, None): (None, "item_id", "null key"),
        (2, None): ("a", "item_id", "duplicate key"),
        (3, None): ("", "item_id", "empty key"),
        (4, None): ("xxx", "item_id", "bad key"),
        (5, "item_text"): ("b", "title", "not encodable"),
        (6, "item_text"): ("c", "title", "not encodable"),
        (7, "item_text"): ("d", "title", "text too long"),
        (8, "item_text"): ("e", "price", "bad value"),
        (9, "item_image"): ("f", "image", "bad media"),
        (10, "item_image"): ("g", "image", "bad media"),
        (11, "item_image"): ("h", "image", "not encodable"),
    }
    assert sum(report.reasons.values()) == report.dead_letters == 11
    assert Path(str(report.dead_letter_path)) == tmp_path / "dead_letters" / "r1.parquet"
    assert all(r["event_timestamp"] == NOW and r["run_id"] == "r1" for r in letters(report))


def test_text_that_is_not_utf8_costs_its_own_row(bench: Make, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(b"item_id,title\na,ok\nb,\xff\xfe\n\xff,ok\nd\ne,ok\n")
    one = bench(make_space())
    report = one.ingest(tmp_path / "c.csv")
    assert set(one.rows("item_text")) == {"a", "e"}
    assert [(r["row"], r["kind"]) for r in letters(report)] == [(1, "bad text"), (2, "bad key"), (3, "broken row")]
    assert conserved(report)
    assert report.rows == 5


def test_media_by_path_stay_in_the_catalogue_folder(bench: Make, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "a.png").write_bytes(b"picture")
    (tmp_path / "shop" / "c.csv").write_text("item_id,image\na,a.png\nb,/etc/passwd\nc,../secret\nd,\ne,none.png\n")
    one = bench(make_space("item_image", modality="image", inputs=("image",)))
    report = one.ingest(tmp_path / "shop" / "c.csv")
    assert set(one.rows("item_image")) == {"a"}
    assert report.views["item_image"].absent == 1
    assert {r["key"]: r["kind"] for r in letters(report)} == dict.fromkeys("bce", "bad media")


def test_ready_vectors(bench: Make) -> None:
    one = bench(make_space("item_ready", inputs=("vector",), ready=True))
    good = [1.0, 2.0, 3.0, 4.0]
    cells = [good, good[:2], [np.nan, 1.0, 1.0, 1.0], None, [0.0] * 4, good]
    report = one.ingest(pa.table({"item_id": [str(n) for n in range(6)], "vector": cells}))
    assert one.rows("item_ready")["5"]["item_ready_embedding"] == good
    assert set(one.rows("item_ready")) == {"0", "5"}
    assert report.reasons == {"bad vector": 3}
    assert (report.views["item_ready"].encoded, report.views["item_ready"].absent) == (2, 1)
    assert conserved(report)
    assert one.encoders == {}


def test_event_times_are_read_and_an_older_event_does_not_win(bench: Make) -> None:
    one = bench(make_space())
    times = ["2024-01-02", "2024-01-01", "2024-01-02", "never", None]
    table = pa.table({"item_id": ["a"] * 5, "title": list("vwxyz"), "event_timestamp": times})
    report = one.ingest(table)
    assert one.rows("item_text")["a"]["event_timestamp"] == datetime(2024, 1, 2, tzinfo=timezone.utc)
    assert [(r["row"], r["kind"]) for r in letters(report)] == [
        (2, "duplicate key"),
        (3, "bad event time"),
        (4, "bad event time"),
    ]
    view = report.views["item_text"]
    assert (view.written, view.stale, view.dead) == (1, 1, 3)
    named = one.ingest(pa.table({"item_id": ["b"], "title": ["t"], "seen": [NOW]}), event_timestamp="seen")
    assert named.views["item_text"].written == 1
    assert one.rows("item_text")["b"]["event_timestamp"] == NOW


def test_duplicates_are_found_across_batches_and_files(bench: Make, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for part in range(3):
        keys = [f"i{n}" for n in range(part * 10, part * 10 + 20)]
        pq.write_table(pa.table({"item_id": keys, "title": keys}), tmp_path / "parts" / f"{part}.parquet")
    one = bench(make_space())
    report = one.ingest(tmp_path / "parts", settings=IngestSettings(batch_rows=7))
    assert report.reasons == {"duplicate key": 20}
    assert len(one.rows("item_text")) == 40
    assert letters(report)[0]["reason"] == "row 10 has the same key and event time"


def test_key_and_mapping(bench: Make) -> None:
    one = bench(make_space(key="Int64", fields={"price": "Float64"}))
    table = pa.table({"sku": [1.0, 2.0], "name": ["x", "y"], "cost": ["3", "4"]})
    one.ingest(table, key="sku", mapping={"title": "name", "price": "cost"})
    assert {k: r["price"] for k, r in one.rows("item_text").items()} == {1: 3.0, 2: 4.0}


def test_a_space_without_its_columns_is_skipped_and_says_so(bench: Make) -> None:
    one = bench(make_space(), make_space("item_image", modality="image", inputs=("image",)))
    report = one.ingest(pa.table({"item_id": ["a"], "title": ["x"]}))
    assert report.views["item_image"].skipped == "no column image in the catalogue"
    assert report.views["item_text"].written == 1
    assert "skipped" in str(report)
    with pytest.raises(CatalogueError, match="none of the columns"):
        one.ingest(pa.table({"item_id": ["a"]}))
    with pytest.raises(CatalogueError, match="no column 'item_id' for the key"):
        one.ingest(pa.table({"title": ["a"]}))
    with pytest.raises(CatalogueError, match="no column 'when'"):
        one.ingest(pa.table({"item_id": ["a"], "title": ["a"]}), event_timestamp="when")


def test_an_empty_catalogue_is_an_empty_run(bench: Make) -> None:
    one = bench(make_space())
    report = one.ingest(pa.table({"item_id": pa.array([], pa.string()), "title": pa.array([], pa.string())}))
    assert (report.rows, report.views["item_text"].written, one.log("item_text").parts) == (0, 0, {})


def test_strict_stops_before_its_batch_is_written(bench: Make) -> None:
    one = bench(make_space())
    table = pa.table({"item_id": ["a", None], "title": ["x", "y"]})
    with pytest.raises(StrictIngestError, match="row 1: item_id: null key"):
        one.ingest(table, strict=True)
    assert (one.rows("item_text"), one.log("item_text").parts) == ({}, {})
    assert not one.dead.exists() or not list(one.dead.iterdir())
    one.ingest(table.slice(0, 1), strict=True)
    assert set(one.rows("item_text")) == {"a"}


def broken(error: Exception) -> Callable[..., Any]:
    def encoder_for(contract: Any) -> Any:
        raise error

    return encoder_for


TABLE = pa.table({"item_id": [f"i{n}" for n in range(2000)], "title": [f"t{n}" for n in range(2000)]})


def test_what_fails_before_the_run_leaves_nothing(bench: Make) -> None:
    one = bench(make_space())
    with pytest.raises(ServerUnavailableError):
        one.ingest(TABLE, encoder_for=broken(ServerUnavailableError("down")))
    other = external_contract("other", version=9, dimension=DIMENSION, modality="text")
    with pytest.raises(ContractMismatchError, match="item_text declares text_encoder/1"):
        one.ingest(TABLE, encoder_for=lambda _: HashEncoder(other))
    with pytest.raises(ConfigurationError, match="run id"):
        one.ingest(TABLE, run_id="../evil")
    one.store.specs.clear()
    with pytest.raises(SchemaMismatchError, match="connector apply"):
        one.ingest(TABLE)
    assert (one.rows("item_text"), one.log("item_text").parts, one.dead.exists()) == ({}, {}, False)


def test_collections_that_do_not_fit_their_view(bench: Make) -> None:
    one = bench(make_space(fields={"price": "Float64"}))
    stored = one.targets[0]
    for space, error, says in (
        (make_space(fields={"price": "Float64", "size": "Int64"}), SchemaMismatchError, "lacks size"),
        (make_space(dimension=8), ContractMismatchError, "holds vectors of contract"),
    ):
        one.targets = [space_target(space, stored.log)]
        with pytest.raises(error, match=says):
            one.ingest(TABLE)
    one.targets = [stored, stored]
    with pytest.raises(ConfigurationError, match="twice"):
        one.ingest(TABLE)
    one.targets = [stored, make_content({"title": "String"}, key="Int64")]
    with pytest.raises(ConfigurationError, match="different join keys"):
        one.ingest(TABLE)
    one.targets = [make_content({"title": "Map"})]
    with pytest.raises(ConfigurationError, match="type Map"):
        one.ingest(TABLE)
    one.targets = []
    with pytest.raises(ConfigurationError, match="nothing to ingest"):
        one.ingest(TABLE)


class Failing(HashEncoder):
    def encode_tolerant(self, items: Any, side: str = "document") -> EncodeResult:
        result = super().encode_tolerant(items)
        if len(self.batches) > 2:
            raise ServerUnavailableError("went away")
        return result


@pytest.mark.parametrize("where", ["encoder", "store", "progress"])
def test_a_failure_midway_comes_out_and_no_thread_stays(bench: Make, where: str) -> None:
    one = bench(make_space())
    options: dict[str, Any] = {"settings": IngestSettings(batch_rows=100)}
    expected: type[BaseException] = ServerUnavailableError
    if where == "encoder":
        options["encoder_for"] = Failing
    elif where == "store":
        one.store.error, one.store.fail_after, expected = StoreUnavailableError("gone"), 0, StoreUnavailableError
    else:
        options["progress"], expected = Interrupting(), KeyboardInterrupt
    with pytest.raises(expected):
        one.ingest(pa.concat_tables([TABLE, *bad_tail()]), **options)
    assert [t.name for t in threading.enumerate() if t.name.startswith("ingest-")] == []
    assert left_behind(one.folder) == []
    one.store.error = None
    report = one.ingest(TABLE)
    assert report.views["item_text"].written == 2000


def bad_tail() -> list[pa.Table]:
    return [pa.table({"item_id": pa.nulls(5000, pa.string()), "title": ["x"] * 5000})]


class Interrupting:
    def start(self, total: int | None) -> None:
        assert total == 7000

    def advance(self, rows: int) -> None:
        raise KeyboardInterrupt


class Counting:
    def __init__(self) -> None:
        self.total: int | None = -1
        self.rows = 0

    def start(self, total: int | None) -> None:
        self.total = total

    def advance(self, rows: int) -> None:
        self.rows += rows


def test_progress_counts_every_row(bench: Make) -> None:
    watch = Counting()
    bench(make_space()).ingest(TABLE, progress=watch)
    assert (watch.total, watch.rows) == (2000, 2000)


def test_the_same_run_again_replaces_its_own_parts(bench: Make) -> None:
    one = bench(make_space())
    table = pa.concat_tables([TABLE, pa.table({"item_id": [f"j{n}" for n in range(4000)], "title": ["x"] * 4000})])
    first = one.ingest(table, run_id="r1", now=NOW)
    state, log = dict(one.rows("item_text")), dict(one.log("item_text").parts)
    second = one.ingest(table, run_id="r1", now=NOW)
    assert (first.views, first.rows) == (second.views, second.rows)
    assert one.rows("item_text") == state
    assert one.log("item_text").parts == log
    assert len(log) == 2
    assert all(part.num_rows >= PART_ROWS for name, part in log.items() if name.endswith("000000"))


def test_the_log_comes_before_the_store(bench: Make) -> None:
    one = bench(make_space())
    one.store.error, one.store.fail_after = StoreUnavailableError("gone"), 0
    with pytest.raises(StoreUnavailableError):
        one.ingest(TABLE)
    assert one.log("item_text").count() == 2000


def test_rows_that_a_store_refuses_are_set_aside_and_leave_the_log(bench: Make) -> None:
    one = bench(make_space())
    plain_write = one.store.write

    def write(name: str, rows: pa.Table) -> WriteResult:
        refused = [at for at, key in enumerate(rows["item_id"].to_pylist()) if key in ("i3", "i1500")]
        if refused:
            raise BadRowsError("no", dict.fromkeys(refused, "too long"))
        return plain_write(name, rows)

    one.store.write = write  # type: ignore[method-assign]
    report = one.ingest(TABLE)
    assert conserved(report)
    assert [(r["row"], r["key"], r["kind"]) for r in letters(report)] == [
        (3, "i3", "refused by the store"),
        (1500, "i1500", "refused by the store"),
    ]
    assert one.log("item_text").count() == len(one.rows("item_text")) == 1998
    with pytest.raises(StrictIngestError):
        one.ingest(TABLE, strict=True)


def test_a_plain_view_may_be_logged_only(bench: Make) -> None:
    from dataclasses import replace

    one = bench(make_content({"title": "String"}))
    one.targets = [replace(one.targets[0], collection=None)]
    report = one.ingest(TABLE)
    assert (report.views["item_content"].written, one.store.writes) == (2000, 0)
    assert one.log("item_content").count() == 2000


def test_lists_reach_the_store_as_feast_values(bench: Make) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    one = bench(make_content({"tags": "Array(String)", "blob": "Bytes"}))
    one.ingest(pa.table({"item_id": ["a", "b"], "tags": [["x", "y"], None], "blob": [b"\0\1", None]}))
    row = one.rows("item_content")["a"]
    assert list(Value.FromString(row["tags"]).string_list_val.val) == ["x", "y"]
    assert Value.FromString(row["blob"]).bytes_val == b"\0\1"
    assert one.rows("item_content")["b"]["tags"] is None
    assert next(iter(one.log("item_content").parts.values()))["tags"].to_pylist() == [["x", "y"], None]


def test_the_report_is_json(bench: Make) -> None:
    report = bench(make_space()).ingest(TABLE)
    record = json.loads(json.dumps(report.to_dict()))
    assert record["views"]["item_text"]["written"] == 2000
    assert record["rows_per_second"] > 0
    assert {"read", "check", "log", "store", "encode item_text"} <= set(record["stages"])
    assert "2,000 rows" in str(report)


def test_an_encoder_of_another_shape_is_an_error(bench: Make) -> None:
    class Wrong(HashEncoder):
        def encode_tolerant(self, items: Any, side: str = "document") -> EncodeResult:
            return EncodeResult(np.ones((len(items), 3), dtype=np.float32))

    with pytest.raises(ContractMismatchError, match="publish it again"):
        bench(make_space()).ingest(TABLE, encoder_for=Wrong)


any_cell = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.binary(max_size=6),
    st.sampled_from(["BAD", "NAN", "2024-01-01", "i1", "i2", b"\xff"]),
    st.lists(st.floats(), min_size=3, max_size=5),
    st.datetimes(),
    st.dictionaries(st.sampled_from(["bytes", "path"]), st.one_of(st.none(), st.binary(max_size=3)), max_size=2),
)
names = ("item_id", "title", "price", "image", "vector", "event_timestamp")


@given(
    rows=st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(names, any_cell)), max_size=25),
    batch_rows=st.integers(1, 9),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_of_any_garbage_ends_in_exactly_one_place(
    tmp_path: Path, rows: list[dict[str, Any]], batch_rows: int
) -> None:
    one = Bench(
        tmp_path,
        make_space(fields={"price": "Float64"}),
        make_space("item_image", modality="image", inputs=("image",)),
        make_space("item_ready", inputs=("vector",), ready=True),
        make_content({"title": "String", "price": "Int64"}),
    )
    rows = [*rows, dict.fromkeys(names)]
    report = one.ingest(rows, settings=IngestSettings(batch_rows=batch_rows))
    assert report.rows == len(rows)
    assert conserved(report)
    dead = letters(report)
    assert len(dead) == report.dead_letters
    for name, view in report.views.items():
        own = [r for r in dead if r["space"] in (None, name)]
        assert len(own) == view.dead
        assert len({r["row"] for r in own}) == len(own)
        assert one.log(name).count() == view.written + view.stale
    assert FieldSpec("item_id", "String") == one.targets[0].join_key
    assert isinstance(one.log("item_text"), MemoryLog)


def test_hostile_texts_do_not_reach_the_terminal(bench: Make) -> None:
    report = bench(make_content({"n": "Int64"})).ingest(pa.table({"item_id": ["\x1b[2Ja"], "n": ["\x1b]0;x\a\n"]}))
    (letter,) = letters(report)
    assert "\x1b" not in letter["key"] + letter["reason"]
    assert "\n" not in letter["reason"]
