"""A version under test: searched as readers would search it if it served."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from connector.retrieval.query import build_query
from connector.retrieval.search import Searcher
from connector.versions.records import SpaceVersion

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike

    from connector.retrieval.encode_query import EncoderFor
    from connector.retrieval.fusion import Key
    from connector.stores.base import VectorStore


class Trial:
    """What a caller's metric is given: one version, and a search of it. A context manager.

    Args:
        version: the version that is searched.
        store: where its collection is.
        encoder_for: contract → encoder.
    """

    def __init__(self, version: SpaceVersion, store: VectorStore, encoder_for: EncoderFor) -> None:
        self.version = version
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="trial")
        self._searcher = Searcher(store, encoder_for, self._pool)

    def search(
        self,
        *,
        text: str | None = None,
        image: bytes | str | Path | None = None,
        vector: ArrayLike | None = None,
        item_id: Key | None = None,
        k: int = 20,
        where: str | None = None,
        search_params: Mapping[str, Any] | None = None,
    ) -> pa.Table:
        """As `Connector.search` of one space."""
        space = self.version.space
        query = build_query(
            space.name,
            text=text,
            image=image,
            vector=vector,
            item_id=item_id,
            k=k,
            where=where,
            search_params=search_params,
        )
        return self._searcher.search(query, {space.name: space})

    def close(self) -> None:
        """Release its thread."""
        self._pool.shutdown()

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
