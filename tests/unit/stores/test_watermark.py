"""Locks and records that the writers of one host share."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from connector.errors import StoreError, StoreUnavailableError
from connector.stores import watermark
from connector.stores.state_folder import state_folder
from connector.stores.watermark import Watermark, Watermarks
from connector.testing.faults import Child

MARK = Watermark((20, -5), 1.5)

HOLD = """
import sys, time
from pathlib import Path
from connector.stores.watermark import Watermarks
with Watermarks(Path(sys.argv[1]), "place", 5).hold("items"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_a_record_is_kept_for_one_collection_and_one_place(folder: Path) -> None:
    with Watermarks(folder, "place", 1).hold("items") as record:
        assert record.read("7") == Watermark()
        record.write("7", MARK)
    with Watermarks(folder, "place", 1).hold("items") as record:
        assert record.read("7") == MARK
        assert record.read("8") == Watermark(), "the collection was made anew"
    with Watermarks(folder, "place", 1).hold("others") as record:
        assert record.read("7") == Watermark()
    with Watermarks(folder, "elsewhere", 1).hold("items") as record:
        assert record.read("7") == Watermark()


def test_a_record_from_before_the_host_started_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Watermarks(folder, "place", 1).hold("items") as record:
        record.write("7", MARK)
        monkeypatch.setattr(watermark, "_boot", lambda: "another start")
        assert record.read("7") == Watermark()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"collection": "7"}', '{"newest": [1], "checked": "x"}', "\x00" * 9, "\xff"]
)
def test_a_record_that_cannot_be_read_is_none(folder: Path, text: str) -> None:
    with Watermarks(folder, "place", 1).hold("items") as record:
        record.write("7", MARK)
        (file,) = folder.glob("*.json")
        whole = json.loads(file.read_text())
        file.write_text(text)
        assert record.read("7") == Watermark()
        file.write_text(json.dumps({**whole, "newest": "soon"}))
        assert record.read("7") == Watermark()
        record.write("7", MARK)
        assert record.read("7") == MARK


def test_an_unknown_mark_is_forgotten(folder: Path) -> None:
    with Watermarks(folder, "place", 1).hold("items") as record:
        record.forget()
        record.write("7", MARK)
        record.write("7", Watermark())
        assert record.read("7") == Watermark()
    assert [file.suffix for file in folder.iterdir()] in ([".lock"], [])


def test_others_wait_for_a_lock_and_then_say_so(folder: Path) -> None:
    ours = Watermarks(folder, "place", 0.2)
    with Watermarks(folder, "place", 1).hold("items"):
        with (
            pytest.raises(StoreUnavailableError, match="another process has been writing") as error,
            ours.hold("items"),
        ):
            pass
        assert "\n" not in str(error.value)
        with ours.hold("others"):
            pass
    with ours.hold("items"):
        pass


def test_threads_of_one_store_wait_no_longer(folder: Path) -> None:
    ours, held, done = Watermarks(folder, "place", 0.2), threading.Event(), threading.Event()

    def hold() -> None:
        with ours.hold("items"):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        with pytest.raises(StoreUnavailableError, match="another thread has been writing"), ours.hold("items"):
            pass
    finally:
        done.set()
        thread.join()


def test_the_lock_of_a_process_that_is_killed_is_free_at_once(folder: Path, tmp_path: Path) -> None:
    ours = Watermarks(folder, "place", 0.2)
    with Child(["-c", HOLD, str(folder)], log=tmp_path / "log") as child:
        deadline = time.monotonic() + 30
        while "held" not in child.output and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(StoreUnavailableError), ours.hold("items"):
            pass
        child.kill()
        with ours.hold("items"):
            pass


def test_an_error_inside_gives_the_lock_back(folder: Path) -> None:
    ours = Watermarks(folder, "place", 0.2)
    with pytest.raises(KeyboardInterrupt), ours.hold("items"):
        raise KeyboardInterrupt
    with Watermarks(folder, "place", 0.2).hold("items"):
        pass


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with (
        pytest.raises(StoreError, match="set CONNECTOR_STATE_FOLDER to a folder of your own"),
        Watermarks(folder, "place", 1).hold("items"),
    ):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="set CONNECTOR_STATE_FOLDER to a folder that can be written"),
        Watermarks(tmp_path / "file" / "state", "place", 1).hold("items"),
    ):
        pass


def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_STATE_FOLDER", str(tmp_path / "named"))
    assert state_folder() == tmp_path / "named"
    monkeypatch.delenv("CONNECTOR_STATE_FOLDER")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "multimodal-connector"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert "multimodal-connector-" in state_folder().name
