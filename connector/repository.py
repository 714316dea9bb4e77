"""A Feast repository, opened when first needed and read from memory until the registry changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.config import Settings, load_settings
from connector.errors import ConfigurationError, ConnectorError, UnknownSpaceError
from connector.spaces import EmbeddingSpace, is_content_view, log_folder, read_spaces
from connector.suggest import suggestion

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

    from connector.stores.base import CollectionSpec, VectorStore
    from connector.stores.offline_log import OfflineLog

FEATURE_STORE_FILE = "feature_store.yaml"


@dataclass(frozen=True)
class Snapshot:
    """What the registry declares, as read at one moment.

    Attributes:
        spaces: embedding spaces by name.
        views: the feature views of the embedding spaces and content views, by name.
    """

    spaces: Mapping[str, EmbeddingSpace]
    views: Mapping[str, FeatureView]

    def content_views(self, entity: str) -> list[FeatureView]:
        """Content views of an entity, by name."""
        return [v for _, v in sorted(self.views.items()) if is_content_view(v) and v.entities == [entity]]


class Repository:
    """One Feast repository: its settings, its feature store and what its registry declares.

    Args:
        path: folder that holds feature_store.yaml.
        settings: instead of connector.yaml and the environment.

    Raises:
        ConfigurationError: no feature_store.yaml there, or a connector.yaml that cannot be used.
    """

    def __init__(self, path: str | Path = ".", settings: Settings | None = None) -> None:
        self.path = Path(path).resolve()
        self.file = self.path / FEATURE_STORE_FILE
        if not self.file.is_file():
            raise ConfigurationError(
                f"{self.path}: no {FEATURE_STORE_FILE}; name a Feast repository, or make one by `connector init DIR`"
            )
        self.settings = settings if settings is not None else load_settings(self.path)
        self._lock = threading.RLock()
        self._store: FeatureStore | None = None
        self._snapshot: Snapshot | None = None
        self._mark: tuple[int, int] | None = None
        self._watched: tuple[FeatureStore, Path | None] | None = None
        self._expires = 0.0

    @property
    def model_repository(self) -> Path:
        """Folder of the Triton model repository."""
        return (self.path / self.settings.triton.model_repository).resolve()

    @property
    def feature_store(self) -> FeatureStore:
        """The Feast store of this repository.

        Raises:
            ConfigurationError: feature_store.yaml that Feast does not accept.
        """
        with self._lock:
            if self._store is None:
                self._store = self._open()
            return self._store

    @property
    def vector_store(self) -> VectorStore:
        """The store under Feast's online store, so that Feast reads what was written here; connects on first use."""
        store = self.feature_store
        opened: VectorStore = store.provider.online_store.vector_store(store.config)
        return opened

    def collection_spec(self, view: FeatureView) -> CollectionSpec:
        """Spec of a view's collection in this repository's online store.

        Raises:
            ConfigurationError: a view that cannot be a collection.
        """
        from connector.stores.online_config import view_spec

        return view_spec(self.feature_store.config, view)

    def offline_log(self, view: FeatureView) -> OfflineLog:
        """The offline log of an embedding space or content view."""
        from connector.stores import OfflineLog

        path = log_folder(view)
        return OfflineLog(path if "://" in path else str(self.path / path), widens=is_content_view(view))

    def snapshot(self) -> Snapshot:
        """What the registry declares now.

        Read anew when the registry's cache time is over, and at once when a local registry file has changed.

        Raises:
            ConfigurationError: nothing was applied yet, or the registry cannot be read.
        """
        with self._lock:
            store = self._store
            if store is not None and self._snapshot is not None:
                if time.monotonic() < self._expires and self._mark == self._registry_mark(store):
                    return self._snapshot
                return self._read(store, fresh=True)
            return self._read(self.feature_store, fresh=False)

    def space(self, name: str) -> EmbeddingSpace:
        """The embedding space called `name`.

        Raises:
            UnknownSpaceError: the registry does not hold it; suggests close names.
        """
        spaces = self.snapshot().spaces
        if name not in spaces:
            raise UnknownSpaceError(
                f"no embedding space {name!r} in {self.path}: {suggestion(name, spaces)}"
                + ("" if spaces else "; declare one by embedding_view() and run `connector apply`")
            )
        return spaces[name]

    def refresh(self) -> None:
        """Read the registry anew when next asked, whatever Feast holds in memory."""
        with self._lock:
            self._snapshot = None
            if self._store is not None:
                self._store.refresh_registry()

    def close(self) -> None:
        """Release the connection to Milvus; what is asked afterwards opens it again."""
        with self._lock:
            store, self._store, self._snapshot, self._watched = self._store, None, None, None
        if store is not None:
            store.provider.online_store.vector_store(store.config).close()

    def _read(self, store: FeatureStore, *, fresh: bool) -> Snapshot:
        mark = self._registry_mark(store)
        if self._registry_file(store) is not None and mark is None:
            raise ConfigurationError(f"{self.path}: nothing was applied yet; run `connector apply --repo {self.path}`")
        try:
            registry = store.registry
            if fresh:
                store.refresh_registry()
            views = {view.name: view for view in registry.list_feature_views(store.project, allow_cache=True)}
        except ConnectorError:
            raise
        except Exception as error:  # Feast's registries raise whatever their backend raises
            raise ConfigurationError(f"{self.path}: the Feast registry cannot be read: {one_line(error)}") from error
        spaces = read_spaces(views.values())
        kept = {name: view for name, view in views.items() if name in spaces or is_content_view(view)}
        ttl = store.config.registry.cache_ttl_seconds
        self._snapshot, self._mark = Snapshot(spaces, kept), mark
        self._expires = time.monotonic() + ttl if ttl > 0 else float("inf")
        return self._snapshot

    def _open(self) -> FeatureStore:
        from feast import FeatureStore

        try:
            store = FeatureStore(repo_path=str(self.path), fs_yaml_file=self.file)
            _ = store.config.online_store  # read when first asked for
        except ConnectorError:
            raise
        except Exception as error:  # Feast lets YAML, import, attribute and validation errors through as they come
            raise ConfigurationError(f"{self.file}: {one_line(error)}") from error
        from connector.stores.online import online_config

        try:
            online_config(store.config)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.file}: {error}") from error
        return store

    def _registry_file(self, store: FeatureStore) -> Path | None:
        from connector.stores.registry import CLASS_PATH

        registry = store.config.registry
        ours = registry.registry_store_type in (None, CLASS_PATH)
        if registry.registry_type != "file" or not ours or "://" in registry.path:
            return None
        return self.path / str(registry.path)

    def _registry_mark(self, store: FeatureStore) -> tuple[int, int] | None:
        if self._watched is None or self._watched[0] is not store:
            self._watched = store, self._registry_file(store)
        file = self._watched[1]
        if file is None:
            return (0, 0)
        try:
            status = file.stat()
        except FileNotFoundError:
            return None
        return (status.st_mtime_ns, status.st_size)


def one_line(error: BaseException, limit: int = 400) -> str:
    """The message of a library's error, in one line; the first problem of a validation error."""
    cause: Any = error
    inner = getattr(cause, "_error_message", None)  # Feast wraps pydantic's error in its own
    problems = getattr(cause, "errors", None) or getattr(inner, "errors", None)
    if callable(problems):
        first = problems()[0]
        place = ".".join(str(part) for part in first.get("loc", ()))
        text = f"{place}: {first.get('msg', '')}".strip(": ")
    else:
        text = " ".join(str(error).split())
    text = text or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
