"""Read → encode → write: a catalogue into the offline logs and the vector store, bad rows set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connector.ingest.report import IngestReport, Progress, ViewReport
from connector.ingest.targets import Log, ViewTarget, space_target, view_target

if TYPE_CHECKING:
    from connector.ingest.catalogue import Catalogue, open_catalogue
    from connector.ingest.dead_letters import clean_dead_letters, read_dead_letters
    from connector.ingest.pipeline import ingest_catalogue

__all__ = [
    "Catalogue",
    "IngestReport",
    "Log",
    "Progress",
    "ViewReport",
    "ViewTarget",
    "clean_dead_letters",
    "ingest_catalogue",
    "open_catalogue",
    "read_dead_letters",
    "space_target",
    "view_target",
]

# pyarrow's Parquet and CSV readers take a while to import, and `import connector` must not.
_LAZY = {
    "Catalogue": "connector.ingest.catalogue",
    "clean_dead_letters": "connector.ingest.dead_letters",
    "ingest_catalogue": "connector.ingest.pipeline",
    "open_catalogue": "connector.ingest.catalogue",
    "read_dead_letters": "connector.ingest.dead_letters",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
