"""Feast's file registry, written whole or not at all. In feature_store.yaml:

    registry:
      path: data/registry.db
      registry_store_type: connector.stores.registry.AtomicFileRegistryStore

Feast's own `FileRegistryStore` empties the file and writes it anew, so that a process killed in between, or a reader
that looks in between, finds no registry.
"""

from __future__ import annotations

import os
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feast.infra.registry.file import FileRegistryStore

if TYPE_CHECKING:
    from feast import FeatureStore

CLASS_PATH = "connector.stores.registry.AtomicFileRegistryStore"


class AtomicFileRegistryStore(FileRegistryStore):  # type: ignore[misc]  # feast is untyped
    """The same file in the same format; a writer replaces it in one step."""

    def _write_registry(self, registry_proto: Any) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(timezone.utc))
        file: Path = self._filepath
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.writing")
        try:
            with temporary.open("wb") as handle:
                handle.write(registry_proto.SerializeToString())
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def write_atomically(store: FeatureStore) -> None:
    """Have an open Feast store that was configured with the plain file registry write it in one step as well."""
    registry = store.registry
    plain = getattr(registry, "_registry_store", None)
    if type(plain) is FileRegistryStore:
        atomic = AtomicFileRegistryStore.__new__(AtomicFileRegistryStore)
        atomic.__dict__.update(plain.__dict__)
        registry._registry_store = atomic
