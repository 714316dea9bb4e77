"""Parts of a log merged and rewritten: a death at any file leaves every row there, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.errors import SchemaMismatchError, StoreError
from connector.stores import OfflineLog
from connector.stores.durable import DurableFolder
from connector.stores.log_journal import EMPTY_PART, JOURNAL
from connector.stores.log_locks import Held, locked, maintaining
from connector.testing.rows import NOON, shop_rows

PARTS, EACH = 7, 5


class Died(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def log(tmp_path: Path) -> OfflineLog:
    made = OfflineLog(tmp_path / "items")
    for part in range(PARTS):
        keys = [f"k{part}-{row}" for row in range(EACH)]
        made.append(shop_rows(keys, title=keys, created=NOON), f"run{part // 4}-{part:06d}")
    return made


def keys_of(log: OfflineLog) -> list[str]:
    return [key for batch in OfflineLog(log.folder).read(["item_id"]) for key in batch.column(0).to_pylist()]


def files(log: OfflineLog) -> list[str]:
    return sorted(file.name for file in Path(log.folder).iterdir())


def dying(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Die before or after the given change of a file, counted over writes, moves and removals."""
    count = 0
    for name in ("write", "move", "remove"):
        change: Any = getattr(DurableFolder, name)

        def counted(self: DurableFolder, *arguments: Any, change: Any = change) -> Any:
            nonlocal count
            for moment in (0, 1):
                count += 1
                if count == at:
                    raise Died
                if moment == 0:
                    result = change(self, *arguments)
            return result

        monkeypatch.setattr(DurableFolder, name, counted)
    return lambda: count


def points(action: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> int:
    with monkeypatch.context() as patch:
        count = dying(patch, 0)
        action()
        return count()


def test_compaction_keeps_every_row_in_order(log: OfflineLog) -> None:
    before = keys_of(log)
    assert log.compact(part_rows=3 * EACH - 1) == (PARTS - 1, 3)
    assert keys_of(log) == before
    assert len(files(log)) == 4
    assert log.compact(part_rows=100) == (4, 1)
    assert (keys_of(log), len(files(log))) == (before, 1)
    assert log.compact(part_rows=100) == (0, 0)
    log.append(shop_rows(["late"], title=["late"], created=NOON), "run9-000000")
    assert log.compact(part_rows=1000) == (2, 1)
    assert keys_of(log) == [*before, "late"]


def test_parts_of_unfinished_runs_are_left_alone(log: OfflineLog) -> None:
    before = Counter(keys_of(log))
    assert log.compact(lambda: ["run1"]) == (4, 1)
    assert {"run1-000004", "run1-000005", "run1-000006"} < set(log.part_names())
    assert Counter(keys_of(log)) == before


def test_an_empty_log_and_its_stand_in(tmp_path: Path) -> None:
    log = OfflineLog(tmp_path / "none")
    assert log.compact() == (0, 0)
    assert log.discard(pa.table({"item_id": ["a"]})) == 0
    log.ensure(shop_rows([]).schema)
    assert log.compact() == (0, 0)
    assert log.discard(pa.table({"item_id": ["a"]})) == 0
    assert log.part_names() == [EMPTY_PART]


def test_a_compaction_that_dies_anywhere(log: OfflineLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Counter(keys_of(log))
    spare = tmp_path / "spare"
    copy(log, spare)
    total = points(lambda: OfflineLog(spare).compact(part_rows=3 * EACH), monkeypatch)
    for at in range(1, total + 1):
        place = tmp_path / f"at{at}"
        copy(log, place)
        with monkeypatch.context() as patch:
            dying(patch, at)
            with pytest.raises(Died):
                OfflineLog(place).compact(part_rows=3 * EACH)
        again = OfflineLog(place)
        assert Counter(keys_of(again)) == before, f"change {at} of {total}"
        assert again.count() == PARTS * EACH
        again.append(shop_rows(["late"], title=["late"], created=NOON), "run9-000000")
        again.clean()
        assert JOURNAL not in files(again)
        assert Counter(keys_of(again)) == before + Counter(["late"])
        again.compact(part_rows=1000)
        assert Counter(keys_of(again)) == before + Counter(["late"])
        assert len(files(again)) == 1, f"change {at} of {total}: {files(again)}"


def test_a_deletion_that_dies_anywhere_and_is_done_again(
    log: OfflineLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_part = [f"k3-{row}" for row in range(EACH)]
    gone = pa.table({"item_id": ["k0-1", "k2-2", *whole_part, "never"]})
    kept = Counter(keys_of(log)) - Counter(gone["item_id"].to_pylist())
    spare = tmp_path / "spare"
    copy(log, spare)
    total = points(lambda: OfflineLog(spare).discard(gone), monkeypatch)
    for at in range(1, total + 1):
        place = tmp_path / f"at{at}"
        copy(log, place)
        with monkeypatch.context() as patch:
            dying(patch, at)
            with pytest.raises(Died):
                OfflineLog(place).discard(gone)
        assert not kept - Counter(keys_of(OfflineLog(place))), "a row that stays was lost"
        OfflineLog(place).discard(gone)
        assert Counter(keys_of(OfflineLog(place))) == kept
        assert b"k2-2" not in b"".join(file.read_bytes() for file in place.iterdir())


def test_deleted_rows_leave_abandoned_copies_too(log: OfflineLog, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        dying(patch, 2)
        with pytest.raises(Died):
            log.compact()
    assert any(name.endswith(".merged") for name in files(log))
    assert log.discard(pa.table({"item_id": ["k0-1"]})) == 1
    assert not any(name.endswith(".merged") for name in files(log))


def test_the_last_rows_of_a_log_leave_its_schema(log: OfflineLog) -> None:
    schema = log.schema()
    assert log.discard(pa.table({"item_id": keys_of(log)})) == PARTS * EACH
    assert (log.part_names(), OfflineLog(log.folder).schema()) == ([EMPTY_PART], schema)


def test_hostile_keys_and_wrong_ones(tmp_path: Path) -> None:
    keys = ['a"b', "a'b", "a\\", "", "é", "x" * 5000, "a b", "%"]
    log = OfflineLog(tmp_path / "items")
    log.append(shop_rows(keys, title=keys, created=NOON), "p")
    for number, key in enumerate(keys):
        assert log.discard(pa.table({"item_id": [key]})) == 1
        assert keys_of(log) == keys[number + 1 :]
    log.append(shop_rows(["a"], title=["a"], created=NOON), "p")
    with pytest.raises(SchemaMismatchError, match="colour"):
        log.discard(pa.table({"colour": ["a"]}))


def test_rows_of_one_key_of_several(tmp_path: Path) -> None:
    log = OfflineLog(tmp_path / "pairs")
    table = pa.table({"user": [1, 1, 2], "item": ["a", "b", "a"], "event_timestamp": [NOON] * 3})
    log.append(table, "p")
    assert log.discard(pa.table({"item": ["a"], "user": [2]})) == 1
    assert log.discard(pa.table({"item": ["a"]})) == 1
    assert [batch.to_pylist()[0]["item"] for batch in log.read()] == ["b"]


def test_new_fields_come_to_every_part_wherever_it_dies(
    log: OfflineLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = log.schema()
    assert known is not None
    declared = pa.schema([*(field for field in known if field.name != "title"), ("colour", pa.string())])
    with pytest.raises(SchemaMismatchError):
        log.ensure(declared)
    spare = tmp_path / "spare"
    copy(log, spare)
    total = points(lambda: OfflineLog(spare, widens=True).ensure(declared), monkeypatch)
    assert total == 2 * PARTS
    for at in range(1, total + 1, 5):
        place = tmp_path / f"at{at}"
        copy(log, place)
        with monkeypatch.context() as patch:
            dying(patch, at)
            with pytest.raises(Died):
                OfflineLog(place, widens=True).ensure(declared)
        again = OfflineLog(place, widens=True)
        again.ensure(declared)
        assert {tuple(pq.read_schema(path).names) for path in again.parts()} == {(*known.names, "colour")}
        again.append(shop_rows(["late"], created=NOON).drop_columns(["title"]), "run9-000000")
        rows = [row for batch in again.read(["item_id", "title", "colour"]) for row in batch.to_pylist()]
        assert rows[0] == {"item_id": "k0-0", "title": "k0-0", "colour": None}
        assert rows[-1] == {"item_id": "late", "title": None, "colour": None}
        assert len(rows) == PARTS * EACH + 1
    wrong = pa.schema([field if field.name != "price" else pa.field("price", pa.string()) for field in known])
    with pytest.raises(SchemaMismatchError, match="price"):
        OfflineLog(spare, widens=True).ensure(wrong)


def test_parts_of_a_writer_that_does_not_know_of_a_new_field(log: OfflineLog) -> None:
    before = OfflineLog(log.folder, widens=True)
    known = before.schema()
    assert known is not None
    declared = pa.schema([*known, ("colour", pa.string())])
    OfflineLog(log.folder, widens=True).ensure(declared)
    late = shop_rows(["late"], created=NOON)
    before.append(late, "run9-000000")
    assert pq.read_schema(log.files.path("run9-000000.parquet")).names == declared.names
    # Written by hand, or by an earlier release; among the others, so that the first part does not tell.
    pq.write_table(pq.read_table(log.parts()[1]).select(known.names), log.parts()[1])
    OfflineLog(log.folder, widens=True).ensure(known)
    assert {tuple(pq.read_schema(path).names) for path in log.parts()} == {tuple(declared.names)}
    assert log.count() == PARTS * EACH + 1


def test_a_journal_that_is_none_is_named(log: OfflineLog) -> None:
    for text in ("", "[]", '{"format": 2}', '{"format": 1}'):
        (Path(log.folder) / JOURNAL).write_text(text)
        for call in (log.count, log.clean, log.compact):
            with pytest.raises(StoreError, match=r"\.compaction\.json"):
                call()


def test_one_at_a_time(log: OfflineLog) -> None:
    with locked(log.files, "x.lock"):
        with pytest.raises(Held), locked(log.files, "x.lock"):
            pass
        with locked(log.files, "y.lock"):
            pass
    with maintaining(log.files), pytest.raises(StoreError, match="rewriting"), maintaining(log.files, wait_s=0):
        pass
    assert not [name for name in files(log) if name.endswith(".lock")]


def copy(log: OfflineLog, to: Path) -> None:
    for path in log.parts():
        OfflineLog(to).append(pq.read_table(path), Path(path).stem)
