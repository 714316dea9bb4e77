"""Media cells: bytes, paths or URLs → bytes, within the bounds that a hostile catalogue must keep to."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from connector.ingest.batch import shown
from connector.ingest.files import Location, is_local, resolve
from connector.ingest.remote import HttpFetcher, MediaError

_REMOTE = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "hf"})
_AHEAD = 32


class MediaSource:
    """Reads media for one run.

    A local path must lie inside the catalogue's folder or `media_root`, links followed. On the catalogue's own remote
    file system the same holds. Any other URL needs `allow_remote`; plain HTTP hosts must then be public ones.

    Args:
        location: the catalogue's folder; None for a catalogue in memory, which then has no relative paths of its own.
        media_root: a further folder or URL; relative paths start here instead.
        allow_remote: whether cells may name URLs elsewhere.
        max_bytes: larger files are refused, before they are held whole.
        timeout_s: seconds for one HTTP file; other remote file systems keep their own timeouts.
    """

    def __init__(
        self,
        location: Location | None,
        *,
        media_root: str | Path | None = None,
        allow_remote: bool = False,
        max_bytes: int,
        storage_options: Mapping[str, Any] | None = None,
        timeout_s: float = 30.0,
        threads: int = 8,
    ) -> None:
        self._allow_remote = allow_remote
        self._max_bytes = max_bytes
        self._options = dict(storage_options or {})
        self._roots: list[Location] = []
        self._http_root = ""
        if media_root is not None:
            if str(media_root).startswith(("http://", "https://")):
                self._http_root = str(media_root).rstrip("/") + "/"
            else:
                filesystem, folder = resolve(media_root, storage_options)
                self._roots.append(Location(filesystem, folder, is_local(filesystem)))
        if location is not None:
            self._roots.append(location)
        self._http = HttpFetcher(max_bytes, timeout_s, self._under_http_root)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest-media")

    def close(self) -> None:
        """Stop fetching."""
        self._pool.shutdown(cancel_futures=True)

    def fetch_all(self, cells: Iterable[Any]) -> Iterator[bytes | MediaError]:
        """Fetch in order, some files ahead of the reader: bytes, or the reason why there are none."""
        waiting: deque[Future[bytes | MediaError] | bytes | MediaError] = deque()
        try:
            for value in cells:
                # Bytes need no thread; a path does.
                inline = not isinstance(value, (str, dict))
                waiting.append(self._tolerant(value) if inline else self._pool.submit(self._tolerant, value))
                if len(waiting) > _AHEAD:
                    yield _settled(waiting.popleft())
            while waiting:
                yield _settled(waiting.popleft())
        finally:
            for task in waiting:
                if isinstance(task, Future):
                    task.cancel()

    def fetch(self, value: Any) -> bytes:
        """Bytes of one cell.

        Args:
            value: bytes; a path or URL; or a {"bytes", "path"} struct as Hugging Face datasets write.

        Raises:
            MediaError: with the reason.
        """
        if isinstance(value, MediaError):
            raise value
        if isinstance(value, dict):
            inner = value.get("bytes")
            value = value.get("path") if inner is None else inner
        if isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
        elif isinstance(value, str):
            data = self._load(value.strip())
        else:
            raise MediaError(f"a {type(value).__name__} is neither bytes nor a path nor a URL: {shown(value)}")
        if not data:
            raise MediaError("empty file")
        self._bound(len(data))
        return data

    def _tolerant(self, value: Any) -> bytes | MediaError:
        try:
            return self.fetch(value)
        except MediaError as error:
            return error

    def _load(self, text: str) -> bytes:
        if not text or "\0" in text:
            raise MediaError("empty path" if not text else "a path with a NUL character")
        protocol, rest = text.split("://", 1) if "://" in text else ("", text)
        protocol = protocol.lower()
        if protocol in ("", "file", "local"):
            # fsspec never sees these, so that no chain of protocols can be in them.
            return self._relative_or_local(rest, relative=protocol == "")
        if protocol in ("http", "https"):
            return self._load_http(text)
        if "::" in protocol or "::" in rest:
            raise MediaError("chained URLs are not read")
        for root in self._roots:
            if not root.local and protocol in _protocols(root.filesystem):
                path = root.filesystem._strip_protocol(text)
                if _inside(path, root.folder):
                    return self._load_remote(root.filesystem, path)
        if protocol not in _REMOTE:
            raise MediaError(f"protocol {protocol[:20]}:// is not read from a catalogue")
        if not self._allow_remote:
            raise MediaError("a URL outside the catalogue's folder; allow it by allow_remote_media, or name media_root")
        return self._load_elsewhere(text)

    def _load_http(self, url: str) -> bytes:
        if not (self._allow_remote or self._under_http_root(url)):
            raise MediaError("an http URL; allow such by allow_remote_media, or name media_root")
        return self._http.fetch(url)

    def _under_http_root(self, url: str) -> bool:
        inside = bool(self._http_root) and url.startswith(self._http_root)
        return inside and ".." not in unquote(url)

    def _relative_or_local(self, text: str, *, relative: bool) -> bytes:
        if relative and self._http_root and not text.startswith("/"):
            return self._load_http(self._http_root + text)
        if not self._roots:
            raise MediaError("a path, but the catalogue is in memory and no media_root is given")
        refused: MediaError | None = None
        for root in self._roots:
            try:
                return self._load_local(root, text) if root.local else self._load_beside(root, text, relative)
            except MediaError as error:
                refused = refused or error
        assert refused is not None  # noqa: S101 - there is a root, and it either returned or refused
        raise refused

    def _load_local(self, root: Location, text: str) -> bytes:
        folder = Path(root.folder).resolve()
        try:
            path = (folder / text).resolve()
            if not path.is_relative_to(folder):
                raise MediaError("outside the catalogue's folder; name the folder of the media by media_root")
            # Without O_NONBLOCK a named pipe would hold the run for ever.
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            with os.fdopen(handle, "rb") as file:
                state = os.fstat(file.fileno())
                if not stat.S_ISREG(state.st_mode):
                    raise MediaError("not a regular file")
                self._bound(state.st_size)
                return file.read(self._max_bytes + 1)
        except FileNotFoundError as error:
            raise MediaError("no such file") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise MediaError(f"cannot be read ({type(error).__name__})") from error

    def _load_beside(self, root: Location, text: str, relative: bool) -> bytes:
        if not relative:
            raise MediaError("a local file, but the catalogue is remote; name media_root")
        path = text if text.startswith("/") else f"{root.folder.rstrip('/')}/{text}"
        if not _inside(path, root.folder):
            raise MediaError("outside the catalogue's folder; name the folder of the media by media_root")
        return self._load_remote(root.filesystem, path)

    def _load_elsewhere(self, url: str) -> bytes:
        try:
            filesystem, path = resolve(url, self._options)
        except Exception as error:
            raise MediaError(f"cannot be opened ({type(error.__cause__ or error).__name__})") from error
        return self._load_remote(filesystem, path)

    def _load_remote(self, filesystem: Any, path: str) -> bytes:
        try:
            self._bound(int(filesystem.size(path) or 0))
            return bytes(filesystem.cat_file(path, start=0, end=self._max_bytes + 1))
        except MediaError:
            raise
        except FileNotFoundError as error:
            raise MediaError("no such file") from error
        except Exception as error:
            raise MediaError(f"cannot be read ({type(error).__name__})") from error

    def _bound(self, size: int) -> None:
        if size > self._max_bytes:
            raise MediaError(f"{size:,} bytes, over {self._max_bytes:,} (ingest.max_media_bytes)")


def _settled(task: Future[bytes | MediaError] | bytes | MediaError) -> bytes | MediaError:
    return task.result() if isinstance(task, Future) else task


def _protocols(filesystem: Any) -> tuple[str, ...]:
    found = filesystem.protocol
    return (found,) if isinstance(found, str) else tuple(found)


def _inside(path: str, folder: str) -> bool:
    parts = PurePosixPath(path).parts
    root = PurePosixPath(folder).parts
    return ".." not in parts and parts[: len(root)] == root
