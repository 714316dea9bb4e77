from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from connector.adaptation.pairs import PairSet, read_pairs
from connector.adaptation.pixels.spec import PictureSource
from connector.adaptation.spec import PairSource, parse_spec
from connector.errors import TrainingError

CONTENTS = (b"\1", b"\2", b"\3", b"\4")
NAMES = ("a", "b", "c", "d")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def decode(content: object) -> NDArray[np.uint8]:
    """The first byte; a file of zero is none."""
    first = bytes(content)[0]  # type: ignore[call-overload]
    if not first:
        raise ValueError("no picture")
    return np.full((1, 1, 3), first, np.uint8)


def read(source: PairSource, cache: Path) -> tuple[list[int], PairSet]:
    pairs = read_pairs((source,), decode, (1, 1, 3), cache)
    return pairs.pictures.take(np.arange(len(pairs)))[:, 0, 0, 0].tolist(), pairs


def write(path: Path, cells: list[Any], column: str = "image") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: cells, "name": NAMES[: len(cells)]}), path)
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in zip(NAMES, CONTENTS, strict=True):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def server(files: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(files))) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


FORMS: dict[str, Callable[[str, bytes, Path], Any]] = {
    "bytes": lambda name, content, folder: content,
    "relative paths": lambda name, content, folder: f"files/{name}",
    "absolute paths": lambda name, content, folder: str(folder / "files" / name),
    "file URLs": lambda name, content, folder: f"file://{folder}/files/{name}",
    "structs": lambda name, content, folder: {"bytes": None, "path": f"files/{name}"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("medium", ["image", "audio", "video"])
def test_media_as_bytes_and_paths(files: Path, tmp_path: Path, form: str, medium: str) -> None:
    cells = [FORMS[form](name, content, tmp_path) for name, content in zip(NAMES, CONTENTS, strict=True)]
    path = write(tmp_path / "items.parquet", cells, "medium")
    source = PairSource.model_validate({"path": path, medium: "medium", "text": ("{name}",)})
    values, pairs = read(source, tmp_path / "cache")
    assert values == [1, 2, 3, 4]
    assert pairs.others == list(NAMES)
    assert not pairs.skipped


def test_a_folder_of_parts_and_a_glob(files: Path, tmp_path: Path) -> None:
    write(tmp_path / "parts" / "0.parquet", ["a", "gone"])
    write(tmp_path / "parts" / "1.parquet", [b"\7"])
    (tmp_path / "parts" / "2.csv").write_text("image,name\nc,see\n,dee\n")
    (tmp_path / "parts" / "a").write_bytes(b"\1")
    told = {"text": ("{name}",), "media_root": str(files)}
    values, pairs = read(PairSource(path=str(tmp_path / "parts"), **told), tmp_path / "cache")
    assert values == [1, 7, 3]
    assert pairs.others == ["a", "see"]
    assert pairs.skipped == {"picture: no such file": 1, "picture: nothing there": 1}
    assert read(PairSource(path=str(tmp_path / "parts" / "*.parquet"), **told), tmp_path / "cache")[0] == [1, 7]


def test_parts_that_lack_a_column(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    write(parts / "0.parquet", [b"\1", b"\2"])
    pq.write_table(pa.table({"image": [b"\3"]}), parts / "1.parquet")
    pq.write_table(pa.table({"name": ["x"]}), parts / "2.parquet")
    values, pairs = read(PairSource(path=str(parts), text=("{name}",)), tmp_path / "cache")
    assert values == [1, 2]
    assert pairs.skipped == {"no words": 1, "picture: nothing there": 1}


def test_a_catalogue_and_media_behind_urls(server: str, files: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "items.parquet", [f"{server}/a", "b", f"{server}/gone"])
    source = PairSource(path=path, text=("{name}",), media_root=server)
    values, pairs = read(source, tmp_path / "cache")
    assert values == [1, 2]
    assert pairs.skipped == {"picture: HTTP status 404": 1}
    memory = fsspec.filesystem("memory")
    memory.pipe({"/shop/items.parquet": Path(path).read_bytes(), "/shop/b": b"\5"})
    source = PairSource(path="memory://shop/items.parquet", text=("{name}",))
    values, pairs = read(source, tmp_path / "cache")
    assert values == [5]
    assert sum(pairs.skipped.values()) == 2


def test_urls_are_fetched_only_where_that_is_allowed_and_never_from_here(server: str, tmp_path: Path) -> None:
    path = write(tmp_path / "items.parquet", [f"{server}/a"])
    for allowed, reason in ((False, "allow_remote_media"), (True, "not a public address")):
        with pytest.raises(TrainingError, match=f"not one usable pair.*{reason}") as caught:
            read(PairSource(path=path, text=("{name}",), allow_remote_media=allowed), tmp_path / "cache")
        assert "\n" not in str(caught.value)


def test_what_is_outside_too_large_or_broken_is_one_row_each(files: Path, tmp_path: Path) -> None:
    (files / "large").write_bytes(b"x" * 100)
    (files / "zero").write_bytes(b"\0")
    (tmp_path / "secret").write_bytes(b"\7")
    path = write(files / "items.parquet", ["../secret", "large", "zero", "a"])
    values, pairs = read(PairSource(path=path, text=("{name}",), max_media_bytes=50), tmp_path / "cache")
    assert values == [1]
    assert pairs.others == ["d"]
    reasons = sorted(pairs.skipped)
    assert reasons[0] == "picture: 100 bytes, over 50 (max_media_bytes)"
    assert reasons[1] == "picture: no picture"
    assert reasons[2].startswith("picture: outside the catalogue's folder")
    assert set(pairs.skipped.values()) == {1}


def test_a_folder_without_a_catalogue_is_not_called_absent(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("words")
    for name in ("empty", "notes"):
        with pytest.raises(TrainingError, match="no catalogue file in") as caught:
            read(PairSource(path=str(tmp_path / name), text=("{name}",)), tmp_path / "cache")
        assert "no such" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_paths_count_from_the_specs_folder_and_urls_stay(tmp_path: Path) -> None:
    for path, root, where in (
        ("items", "media", (str(tmp_path / "items"), str(tmp_path / "media"))),
        ("s3://shop/items", "https://shop/media", ("s3://shop/items", "https://shop/media")),
        ("/items", None, ("/items", None)),
    ):
        source = PictureSource(path=path, media_root=root).located(tmp_path)
        assert (source.path, source.media_root) == where
    values = {"out": "out", "steps": 1, "pairs": [{"path": "s3://items", "text": ["{name}"], "media_root": "m"}]}
    (pair,) = parse_spec(values).located(tmp_path).pairs
    assert (pair.path, pair.media_root) == ("s3://items", str(tmp_path / "m"))


def test_a_job_in_the_folder_of_its_own_catalogue_is_refused(tmp_path: Path) -> None:
    """Its decoded rows would be read as a part the next time."""
    write(tmp_path / "parts" / "0.parquet", list(CONTENTS))
    source = PairSource(path=str(tmp_path / "parts"), text=("{name}",))
    with pytest.raises(TrainingError, match="lies in the catalogue's own folder"):
        read(source, tmp_path / "parts" / "out" / "cache")
    assert read(source, tmp_path / "out" / "cache")[0] == [1, 2, 3, 4]
