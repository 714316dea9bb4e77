"""Media cells: what may be read, what is refused, and nothing that hangs or floods."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from connector.ingest import addresses
from connector.ingest.files import Location
from connector.ingest.media import MediaSource
from connector.ingest.remote import HttpFetcher, MediaError

LIMIT = 1000
OTHER = "redirected to something other than http(s)"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
                time.sleep(0.05)
            return
        if self.path == "/headers":
            self.send_response_only(200)
            self.flush_headers()
            for number in range(100):
                try:
                    self.wfile.write(f"X-{number}: x\r\n".encode())
                except OSError:
                    return
                time.sleep(0.05)
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/ok", "/big") else 404)
        self.end_headers()
        self.wfile.write(b"x" * (5 if self.path == "/ok" else 10 * LIMIT))

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "catalogue"
    (inside / "pictures").mkdir(parents=True)
    (inside / "pictures" / "a.jpg").write_bytes(b"apple")
    (inside / "empty.jpg").write_bytes(b"")
    (inside / "big.jpg").write_bytes(b"x" * (LIMIT + 1))
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (inside / "link.jpg").symlink_to(tmp_path / "secret.txt")
    (inside / "pictures" / "up").symlink_to(tmp_path)
    os.mkfifo(inside / "pipe.jpg")
    return inside


def source(folder: Path | None, **options: Any) -> MediaSource:
    location = None if folder is None else Location(fsspec.filesystem("file"), str(folder), local=True)
    return MediaSource(location, max_bytes=LIMIT, timeout_s=0.5, **options)


def answer(media: MediaSource, cell: Any) -> Any:
    try:
        (found,) = media.fetch_all([cell])
    finally:
        media.close()
    return str(found) if isinstance(found, MediaError) else found


def test_bytes_paths_urls_and_structs(folder: Path) -> None:
    absolute = folder / "pictures" / "a.jpg"
    cells = [
        b"raw",
        "pictures/a.jpg",
        str(absolute),
        f"file://{absolute}",
        {"bytes": b"raw", "path": "ignored.jpg"},
        {"bytes": None, "path": "pictures/a.jpg"},
    ]
    media = source(folder)
    assert list(media.fetch_all(cells)) == [b"raw", b"apple", b"apple", b"apple", b"raw", b"apple"]
    media.close()


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("/etc/passwd", "outside"),
        ("../secret.txt", "outside"),
        ("pictures/../../secret.txt", "outside"),
        ("file:///etc/passwd", "outside"),
        ("local:///etc/passwd", "outside"),
        ("link.jpg", "outside"),
        ("pictures/up/secret.txt", "outside"),
        ("filecache::file:///etc/passwd", "chained"),
        ("zip://x::/etc/passwd", "chained"),
        ("memory://x", "protocol memory"),
        ("ftp://host/x", "protocol ftp"),
        ("github://o:r@x/y", "protocol github"),
        ("reference://x", "protocol reference"),
        ("http://example.com/x.jpg", "allow_remote_media"),
        ("s3://bucket/x.jpg", "allow_remote_media"),
        ("pipe.jpg", "not a regular file"),
        ("pictures", "cannot be read|not a regular file"),
        ("absent.jpg", "no such file"),
        ("a\0b.jpg", "NUL"),
        ("x" * 5000, "cannot be read"),
        ("big.jpg", "over 1,000"),
        ("empty.jpg", "empty file"),
        (b"", "empty file"),
        (b"x" * (LIMIT + 1), "over 1,000"),
        (42, "neither bytes nor a path"),
        (["a.jpg"], "neither bytes nor a path"),
        ({"bytes": 3}, "neither bytes nor a path"),
    ],
)
def test_what_is_refused(folder: Path, cell: Any, says: str) -> None:
    reason = answer(source(folder), cell)
    assert isinstance(reason, str)
    assert re.search(says, reason)
    assert "secret" not in reason or "secret" in str(cell)


def test_a_media_root_opens_one_more_folder(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jpg").write_bytes(b"berry")
    media = source(folder, media_root=other)
    cells = ["b.jpg", "pictures/a.jpg", str(other / "b.jpg"), "../secret.txt"]
    found = list(media.fetch_all(cells))
    media.close()
    assert found[:3] == [b"berry", b"apple", b"berry"]
    assert isinstance(found[3], MediaError)


def test_a_table_in_memory_has_no_folder(folder: Path) -> None:
    assert "no media_root" in answer(source(None), "pictures/a.jpg")
    assert answer(source(None, media_root=folder), "pictures/a.jpg") == b"apple"


def test_a_remote_catalogue_reads_beside_itself_only() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/shop/pictures/a.jpg", b"apple")
    memory.pipe("/elsewhere/b.jpg", b"berry")
    memory.pipe("/shop/big.jpg", b"x" * (LIMIT + 1))
    media = MediaSource(Location(memory, "/shop", local=False), max_bytes=LIMIT)
    try:
        cells = ["pictures/a.jpg", "memory://shop/pictures/a.jpg", "/shop/pictures/a.jpg"]
        assert list(media.fetch_all(cells)) == [b"apple"] * 3
        for cell in (
            "../elsewhere/b.jpg",
            "memory://elsewhere/b.jpg",
            "/elsewhere/b.jpg",
            "big.jpg",
            "file:///etc/passwd",
        ):
            assert isinstance(next(media.fetch_all([cell])), MediaError), cell
    finally:
        media.close()
        memory.rm("/shop", recursive=True)
        memory.rm("/elsewhere", recursive=True)


def test_http_under_the_media_root(server: str, folder: Path) -> None:
    assert answer(source(folder, media_root=server), "ok") == b"xxxxx"
    assert answer(source(folder, media_root=server), f"{server}/ok") == b"xxxxx"
    assert answer(source(folder, media_root=server), f"{server}/to/{server}/ok") == b"xxxxx"
    assert answer(source(folder, media_root=server), "absent") == "HTTP status 404"
    assert "over 1,000 bytes" in answer(source(folder, media_root=server), "big")


def test_http_that_goes_round_in_circles(server: str) -> None:
    url = server
    for _ in range(7):
        url = f"{server}/to/{url}"
    assert answer(source(None, media_root=server), url) == "more than 5 redirects"


@pytest.mark.parametrize("path", ["slow", "headers"])
def test_http_that_drips_is_cut_off(server: str, path: str) -> None:
    started, threads = time.monotonic(), threading.active_count()
    assert "not there within" in answer(source(None, media_root=server), path)
    assert time.monotonic() - started < 3
    assert threading.active_count() <= threads + 1  # the server's own


def test_the_address_that_was_checked_is_the_one_that_is_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["93.184.216.34", "127.0.0.1"])

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(addresses, "socket", SimpleNamespace(getaddrinfo=resolve, SOCK_STREAM=socket.SOCK_STREAM))
    port = server.rsplit(":", 1)[1]
    with pytest.raises(MediaError, match="not a public address"):
        HttpFetcher(LIMIT, 5.0, lambda url: False).fetch(f"http://shop.example:{port}/ok")
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
        ("fd00::1", False),
    ],
)
def test_addresses(address: str, public: bool) -> None:
    assert addresses.is_public(address) is public


def test_http_does_not_reach_into_the_own_network(server: str) -> None:
    assert "not a public address" in answer(source(None, allow_remote=True), f"{server}/ok")
    assert "not a public address" in answer(source(None, allow_remote=True), "http://169.254.169.254/latest/meta-data")
    assert "not a public address" in answer(source(None, allow_remote=True), "http://[::1]/x")
    root = source(None, media_root=server)
    assert "not a public address" in answer(root, f"{server}/to/http://localhost:9/ok")
    assert answer(source(None, media_root=server), f"{server}/to/file:///etc/passwd") == OTHER


def test_http_fetcher_trusts_only_what_it_is_told(server: str) -> None:
    fetcher = HttpFetcher(LIMIT, 1.0, lambda url: url.startswith(server))
    assert fetcher.fetch(f"{server}/ok") == b"xxxxx"
    with pytest.raises(MediaError):
        fetcher.fetch("http://127.0.0.1:1/")


def test_files_come_in_order_and_only_some_ahead(folder: Path) -> None:
    for number in range(100):
        (folder / f"{number}.jpg").write_bytes(str(number).encode())
    asked: list[int] = []

    def cells() -> Iterator[str]:
        for number in range(100):
            asked.append(number)
            yield f"{number}.jpg"

    media = source(folder)
    files = media.fetch_all(cells())
    assert next(files) == b"0"
    assert len(asked) < 50
    assert [next(files) for _ in range(99)] == [str(n).encode() for n in range(1, 100)]
    media.close()
