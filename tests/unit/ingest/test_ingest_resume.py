"""A run that died is carried on: nothing encoded twice, and the end is that of an undisturbed run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partialmethod
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.config import IngestSettings
from connector.errors import CatalogueError, ConnectorError, StrictIngestError
from connector.ingest import IngestReport, ViewTarget, read_dead_letters, space_target
from connector.ingest.run_folder import RunFolder, unfinished_runs
from connector.ingest.validate import key_hash
from connector.spaces import EmbeddingSpace
from connector.stores import OfflineLog
from connector.testing.faults import seeded_points
from encoders.base import EncodeResult
from encoders.contract import external_contract
from tests.torture import POINTS, TORTURE
from tests.unit.ingest.kit import DIMENSION, Bench, HashEncoder, make_content, make_space

ROWS, BATCH = 230, 10
FEW = POINTS if TORTURE else 1
SETTINGS = IngestSettings(batch_rows=BATCH)
START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
TIMES = ("event_timestamp", "created_timestamp")


class Died(BaseException):
    """Stands for SIGKILL: nothing that catches errors catches it."""


class Dying:
    """Counts what it wraps, and dies at a given count; `after` the call instead of before it."""

    def __init__(self, action: Callable[..., Any], at: int = 0, after: bool = False) -> None:
        self.action, self.at, self.after, self.count = action, at, after, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        if self.count == self.at and not self.after:
            raise Died
        result = self.action(*arguments, **options)
        if self.count == self.at:
            raise Died
        return result

    @staticmethod
    def of(owner: Any, dying: Dying, *arguments: Any, **options: Any) -> Any:
        """For a method of a class: called with its object first."""
        return dying(owner, *arguments, **options)


class Shop(Bench):
    """Logs on disk beside a store in memory; parts small enough that a run has many."""

    def __init__(self, folder: Path, *targets: ViewTarget | EmbeddingSpace) -> None:
        super().__init__(folder, *targets)
        self.targets = [replace(t, log=OfflineLog(folder / "logs" / t.name)) for t in self.targets]
        self.inputs: list[str] = []

    def encoder_for(self, contract: Any) -> HashEncoder:
        shop = self

        class Noting(HashEncoder):
            def encode_tolerant(self, items: Any, side: str = "document") -> EncodeResult:
                shop.inputs += items
                return super().encode_tolerant(items, side)

        return Noting(contract)

    def ingest(self, source: Any, **options: Any) -> IngestReport:
        return super().ingest(source, **{"settings": SETTINGS, **options})

    def logged(self) -> dict[str, list[dict[str, Any]]]:
        return {
            t.name: ordered(row for b in OfflineLog(t.log.folder).read() for row in b.to_pylist()) for t in self.targets
        }

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        return {name: ordered(rows.values()) for name, rows in self.store.rows.items()}

    def unfinished(self) -> list[RunFolder]:
        return [run for target in self.targets for run in unfinished_runs(target.log.folder)]


def ordered(rows: Any) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["item_id"], str(row["event_timestamp"])))


def bare(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Without the times, which differ from run to run."""
    return {name: [{k: v for k, v in row.items() if k not in TIMES} for row in rows] for name, rows in found.items()}


def letters(report: IngestReport) -> list[dict[str, Any]]:
    if report.dead_letter_path is None:
        return []
    rows = read_dead_letters(report.dead_letter_path).to_pylist()
    return [{k: v for k, v in row.items() if k not in ("run_id", "event_timestamp")} for row in rows]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.ingest.writer.PART_ROWS", 3 * BATCH)
    monkeypatch.setattr("connector.ingest.writer.MEDIA_PART_ROWS", 3 * BATCH)


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Rows, some of them bad, repeated, absent in one view or older than others of their key."""
    keys = [f"i{n:03d}" if n % 50 else f"i{n // 2:03d}" for n in range(ROWS)]
    table = pa.table(
        {
            "item_id": [None if n % 37 == 5 else key for n, key in enumerate(keys)],
            "title": ["BAD" if n % 41 == 7 else None if n % 11 == 3 else f"title {n}" for n in range(ROWS)],
            "image": [f"png{n}".encode() if n > 60 else None for n in range(ROWS)],
            "price": ["cheap" if n % 43 == 9 else str(n) for n in range(ROWS)],
        }
    )
    path = tmp_path / "items.parquet"
    pq.write_table(table, path, row_group_size=64)
    return path


def views() -> tuple[ViewTarget | EmbeddingSpace, ...]:
    return (
        make_space(fields={"price": "Float64"}),
        make_space("item_image", modality="image", inputs=("image",)),
        make_content({"title": "String"}),
    )


def die(shop: Shop, where: str, at: int, after: bool, monkeypatch: pytest.MonkeyPatch) -> Dying:
    place: Any = {"log": OfflineLog, "letters": RunFolder, "record": RunFolder, "store": shop.store}[where]
    name = {"log": "append", "letters": "write_letters", "record": "save", "store": "write"}[where]
    dying = Dying(getattr(place, name), at, after)
    if place is shop.store:
        monkeypatch.setattr(place, name, dying)
    else:
        monkeypatch.setattr(place, name, partialmethod(Dying.of, dying))
    return dying


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("where", ["log", "store", "letters", "record"])
def test_killed_anywhere_and_started_again(
    tmp_path: Path, catalogue: Path, where: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Shop(tmp_path / "whole", *views())
    with monkeypatch.context() as patch:
        counted = die(whole, where, 0, after, patch)
        expected = whole.ingest(catalogue)
    assert expected.resumed == 0
    assert sum(view.stale for view in expected.views.values()) == 0
    for point in seeded_points(counted.count, FEW, seed=len(where)):
        shop = Shop(tmp_path / f"{where}{point}{after}", *views())
        with monkeypatch.context() as patch:
            die(shop, where, point, after, patch)
            with pytest.raises(Died):
                shop.ingest(catalogue)
        done_before = len(shop.inputs)
        committed = next((run.load() for run in shop.unfinished()), None)
        shop.inputs.clear()
        report = shop.ingest(catalogue)
        place = f"{where} {point} of {counted.count}, after={after}"
        assert bare(shop.logged()) == bare(whole.logged()), place
        assert bare(shop.stored()) == bare(whole.stored()), place
        assert letters(report) == letters(expected), place
        assert (report.rows, report.views, report.reasons) == (expected.rows, expected.views, expected.reasons), place
        assert report.resumed == (0 if committed is None else committed.rows), place
        if committed is not None:
            assert report.run_id == committed.run_id
            assert ("resumed" in str(report)) == (committed.rows > 0)
            redone = {title for title in shop.inputs if isinstance(title, str)}
            first = {f"title {n}" for n in range(committed.position)}
            assert not redone & first, place
            assert len(shop.inputs) < len(whole.inputs) or committed.position == 0
        assert done_before <= len(whole.inputs)
        assert shop.unfinished() == []
        for target in shop.targets:
            assert sorted(p.suffix for p in Path(target.log.folder).iterdir()) == [".parquet"] * len(
                OfflineLog(target.log.folder).parts()
            ), place


def test_it_goes_on_under_the_time_of_its_first_start(
    tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop", *views())
    with monkeypatch.context() as patch:
        die(shop, "store", 9, False, patch)
        with pytest.raises(Died):
            shop.ingest(catalogue)
    (run,) = shop.unfinished()
    state = run.load()
    assert state is not None
    shop.ingest(catalogue)
    for rows in (*shop.logged().values(), *shop.stored().values()):
        assert {row[name] for row in rows for name in TIMES} == {state.started}


def test_a_second_undisturbed_start_is_a_run_of_its_own(tmp_path: Path, catalogue: Path) -> None:
    shop = Shop(tmp_path / "shop", *views())
    first, second = shop.ingest(catalogue), shop.ingest(catalogue)
    assert first.run_id != second.run_id
    assert (first.resumed, second.resumed) == (0, 0)


def killed(shop: Shop, catalogue: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    with monkeypatch.context() as patch:
        die(shop, "store", 10, False, patch)
        with pytest.raises(Died):
            shop.ingest(catalogue, **options)
    assert len(shop.unfinished()) == 1
    shop.inputs.clear()


def test_restart_begins_anew(tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, shop = Shop(tmp_path / "whole", *views()), Shop(tmp_path / "shop", *views())
    expected = whole.ingest(catalogue)
    killed(shop, catalogue, monkeypatch)
    report = shop.ingest(catalogue, restart=True)
    assert (report.resumed, len(shop.inputs)) == (0, len(whole.inputs))
    assert bare(shop.stored()) == bare(whole.stored())
    assert letters(report) == letters(expected)
    assert shop.unfinished() == []


def another_catalogue(shop: Shop, catalogue: Path) -> dict[str, Any]:
    table = pq.read_table(catalogue)
    pq.write_table(table.set_column(1, "title", pa.array([f"other {n}" for n in range(ROWS)])), catalogue)
    return {}


def another_mapping(shop: Shop, catalogue: Path) -> dict[str, Any]:
    return {"mapping": {"title": "price"}}


def another_encoder(shop: Shop, catalogue: Path) -> dict[str, Any]:
    space = shop.targets[0].space
    assert space is not None
    contract = external_contract("text_encoder", version=1, dimension=DIMENSION, modality="text", metric="IP")
    other = replace(space, contract=contract, queries=(contract,))
    spec = shop.store.specs["item_text__v1"]
    assert spec.vector is not None
    vector = replace(spec.vector, metric="IP")
    shop.store.specs["item_text__v1"] = replace(spec, contract_hash=contract.hash, vector=vector)
    shop.targets[0] = space_target(other, shop.targets[0].log)
    return {}


def fewer_views(shop: Shop, catalogue: Path) -> dict[str, Any]:
    shop.targets = shop.targets[:2]
    return {}


@pytest.mark.parametrize("change", [another_catalogue, another_mapping, another_encoder, fewer_views])
def test_what_is_not_the_same_run_is_not_carried_on(
    tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Shop, Path], dict[str, Any]]
) -> None:
    shop = Shop(tmp_path / "shop", *views())
    killed(shop, catalogue, monkeypatch)
    (left,) = shop.unfinished()
    report = shop.ingest(catalogue, **change(shop, catalogue))
    assert (report.resumed, report.rows) == (0, ROWS)
    assert [run.identity for run in shop.unfinished()] == [left.identity]


def test_a_catalogue_in_memory_begins_anew(tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, table = Shop(tmp_path / "shop", *views()), pq.read_table(catalogue)
    with monkeypatch.context() as patch:
        die(shop, "store", 10, False, patch)
        with pytest.raises(Died):
            shop.ingest(table)
    assert shop.unfinished() == []
    assert shop.ingest(table).resumed == 0


def test_one_process_at_a_time_has_a_run(tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path / "shop", *views())
    killed(shop, catalogue, monkeypatch)
    (run,) = shop.unfinished()
    with run.held(), pytest.raises(CatalogueError, match="another process is ingesting it"):
        shop.ingest(catalogue)
    assert shop.ingest(catalogue).resumed > 0


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": 99}', b'{"format": 1}', b"\xff"])
def test_a_record_that_cannot_be_read(
    tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    shop = Shop(tmp_path / "shop", *views())
    killed(shop, catalogue, monkeypatch)
    (run,) = shop.unfinished()
    run.files.write("run.json", lambda file: file.write(text))
    with pytest.raises(CatalogueError, match="--restart"):
        shop.ingest(catalogue)
    assert shop.ingest(catalogue, restart=True).rows == ROWS


def test_dead_letters_that_are_gone(tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path / "shop", *views())
    killed(shop, catalogue, monkeypatch)
    (run,) = shop.unfinished()
    segments = [name for name in run.files.names() if name.startswith("letters-")]
    assert segments
    run.files.remove(segments[0])
    with pytest.raises(ConnectorError, match="--restart"):
        shop.ingest(catalogue)


def test_what_was_deleted_meanwhile_does_not_come_back(
    tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop", *views())
    killed(shop, catalogue, monkeypatch)
    (run,) = shop.unfinished()
    run.add_deleted(frozenset({key_hash("i201"), key_hash("i202")}))
    report = shop.ingest(catalogue)
    assert report.reasons["deleted"] == 2
    for rows in (*shop.logged().values(), *shop.stored().values()):
        assert not {row["item_id"] for row in rows} & {"i201", "i202"}
    assert "i201" not in json.dumps(read_dead_letters(str(report.dead_letter_path)).to_pylist(), default=str)
    assert "i201" in {row["item_id"] for row in (shop.ingest(catalogue), shop.stored()["item_content__v1"])[1]}


def test_a_strict_run_that_met_a_bad_row_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path / "shop", make_space())
    path = tmp_path / "strict.jsonl"
    rows = [{"item_id": f"i{n}", "title": f"t{n}"} for n in range(100)]
    path.write_text("\n".join(json.dumps(row) for row in [*rows, {"item_id": "x", "title": "BAD"}]))
    for _ in range(2):
        with pytest.raises(StrictIngestError, match="row 100"):
            shop.ingest(path, strict=True)
    assert len(shop.logged()["item_text"]) == len(shop.stored()["item_text__v1"]) < 101
    assert shop.ingest(path).dead_letters == 1


def test_media_that_went_meanwhile_leave_no_rows_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of a view that was being written when the run died goes when nothing takes its place."""
    shop = Shop(tmp_path / "shop", make_space("item_image", modality="image", inputs=("image",)), make_space())
    (tmp_path / "a.png").write_bytes(b"picture")
    path = tmp_path / "items.csv"
    path.write_text("item_id,title,image\na,t,a.png\nb,t,\n")
    with monkeypatch.context() as patch:
        die(shop, "store", 1, False, patch)
        with pytest.raises(Died):
            shop.ingest(path)
    assert [row["item_id"] for row in shop.logged()["item_image"]] == ["a"]
    (tmp_path / "a.png").unlink()
    report = shop.ingest(path)
    assert (report.reasons, report.views["item_image"].written) == ({"bad media": 1}, 0)
    assert shop.logged()["item_image"] == []
    assert set(shop.rows("item_text")) == {"a", "b"}


def test_an_older_run_that_is_carried_on_does_not_win(
    tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop", make_content({"title": "String"}))
    with monkeypatch.context() as patch:
        die(shop, "store", 3, False, patch)
        with pytest.raises(Died):
            shop.ingest(catalogue)
    newer = datetime.now(timezone.utc) + timedelta(hours=1)
    shop.ingest(pa.table({"item_id": ["i201"], "title": ["newer"]}), now=newer)
    report = shop.ingest(catalogue)
    assert report.views["item_content"].stale == 1
    assert shop.rows("item_content")["i201"]["title"] == "newer"
