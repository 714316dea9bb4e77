"""The Connector: one object for a Feast repository, its Milvus collections and its encoders."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from connector.config import Settings
from connector.errors import ConfigurationError, UnknownSpaceError
from connector.repository import Repository
from connector.suggest import suggestion

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike

    from connector.applying import ApplyReport
    from connector.ingest import IngestReport, Progress
    from connector.retrieval.fusion import FusionMethod, Key
    from connector.retrieval.search import Searcher
    from connector.serving import EncoderProvider
    from connector.spaces import EmbeddingSpace
    from connector.stores.base import VectorStore
    from connector.upkeep import Compaction, DeletionReceipt, ReconcileReport
    from connector.versions import Change, GateSettings, PromotionReport, SpaceVersion, Trial
    from encoders.base import Encoder
    from encoders.contract import EncoderContract

SEARCH_THREADS = 8


class Connector:
    """A Feast repository with embedding spaces, ready to ingest and to search.

    Nothing is opened before it is needed: Feast, Milvus and Triton each when first used. Safe to search from several
    threads. Use it as a context manager, or call `close`.

    Args:
        repository: folder that holds feature_store.yaml.
        settings: instead of connector.yaml and `CONNECTOR_…` environment variables.

    Raises:
        ConfigurationError: no feature_store.yaml there, or a connector.yaml that cannot be used.
    """

    def __init__(self, repository: str | Path = ".", settings: Settings | None = None) -> None:
        self._repository = Repository(repository, settings)
        self._lock = threading.RLock()
        self._encoders: EncoderProvider | None = None
        self._searcher: Searcher | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._at_hand: set[str] = set()
        self._closed = False

    @property
    def path(self) -> Path:
        """Folder of the Feast repository."""
        return self._repository.path

    @property
    def settings(self) -> Settings:
        """Settings in force."""
        return self._repository.settings

    def spaces(self) -> dict[str, EmbeddingSpace]:
        """Every embedding space that the Feast registry declares, by name.

        Raises:
            ConfigurationError: nothing was applied yet, or the repository cannot be read.
        """
        self._require_open()
        return dict(self._repository.snapshot().spaces)

    def plan(self) -> list[Change]:
        """What `apply` would do to each feature view, found without doing it.

        Raises:
            ConfigurationError: a file that does not import, or declarations that cannot be read.
            StoreUnavailableError: Milvus does not answer.
        """
        from connector.versions import plan_repository

        self._require_open()
        return plan_repository(self._repository)

    def apply(self, notice: Callable[[str], None] = lambda _: None) -> ApplyReport:
        """Apply the repository's Python files: Feast registry, Milvus collections and aliases, offline logs, encoders.

        Does what `feast apply` does, then publishes the shipped encoders that the spaces name and the model repository
        lacks, and checks that registry, collections and served models agree. Applying again changes nothing.

        Args:
            notice: called with a line before each long step.

        Raises:
            ConfigurationError: a file that does not import, or declarations that Feast refuses.
            SchemaMismatchError: a collection exists with another shape or contract.
            StoreUnavailableError: Milvus does not answer; nothing was written.
        """
        from connector.applying import apply_repository

        self._require_open()
        return apply_repository(self._repository, notice)

    def ingest(
        self,
        source: Any,
        entity: str | None = None,
        *,
        spaces: Sequence[str] | None = None,
        key: str | None = None,
        mapping: Mapping[str, str] | None = None,
        event_timestamp: str | None = None,
        media_root: str | Path | None = None,
        allow_remote_media: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        strict: bool = False,
        restart: bool = False,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Read a catalogue, encode it, and write every space and content view of an entity: the log first, then Milvus.

        A run that was killed is carried on by the same call: what is done is not encoded again, and it ends in the
        state of an undisturbed run. Bad rows go to a dead-letter table.

        Args:
            source: path, glob, folder or fsspec URL of Parquet, Arrow, CSV or JSON lines; or an Arrow table, reader,
                dataset, data frame or list of dicts.
            entity: Feast entity whose rows these are; None where the repository has but one.
            spaces: names of the spaces and content views to fill; None fills all of the entity.
            key: catalogue column of the entity's key, where it is called otherwise.
            mapping: column as the views call it → column as the catalogue calls it.
            event_timestamp: catalogue column of the event time; None takes `event_timestamp`, else the time of the run.
            media_root: folder that relative media paths start from; None takes the catalogue's own.
            allow_remote_media: fetch media from URLs.
            storage_options: for fsspec.
            strict: bad rows are an error.
            restart: begin anew where an earlier call was killed. Rows that it wrote stay until newer ones replace them.
            progress: told how far it is.

        Raises:
            CatalogueError: a catalogue that cannot be read, or lacks a column.
            UnknownSpaceError: no view of that entity or name.
            StrictIngestError: bad rows under `strict`.
            ServerUnavailableError, StoreUnavailableError: Triton or Milvus does not answer.
        """
        from connector.applying import ensure_views
        from connector.ingest import ingest_catalogue

        self._require_open()
        targets = self._targets(entity, spaces)
        store = self._vector_store()
        ensure_views(self._repository, store)
        return ingest_catalogue(
            source,
            targets=targets,
            encoder_for=self._encoder,
            store=store,
            dead_letter_dir=self.dead_letter_folder,
            settings=self.settings.ingest,
            key=key,
            mapping=mapping,
            event_timestamp=event_timestamp,
            media_root=media_root,
            allow_remote_media=allow_remote_media,
            storage_options=storage_options,
            strict=strict,
            restart=restart,
            progress=progress,
        )

    def search(
        self,
        spaces: str | Sequence[str] | Mapping[str, float],
        *,
        text: str | None = None,
        image: bytes | str | Path | None = None,
        audio: bytes | str | Path | None = None,
        video: bytes | str | Path | None = None,
        history: Sequence[Key] | None = None,
        vector: ArrayLike | None = None,
        item_id: Key | None = None,
        k: int = 20,
        where: str | None = None,
        fusion: FusionMethod = "rrf",
        features: Sequence[str] | str = (),
        fields: Sequence[str] | None = None,
        search_params: Mapping[str, Any] | None = None,
    ) -> pa.Table:
        """The k items nearest to a query, best first.

        One query is given: any of `text`, `image`, `audio`, `video` and `history`, or `vector`, or `item_id`. Given
        several, each space takes the one of its own modality, else one it can be queried by. Several spaces are
        searched in parallel and fused.

        Args:
            spaces: a space, several, or spaces with their weights ≥ 0 (a weight of 0 leaves the space out).
            text: words to look for.
            image, audio, video: bytes of a file, or its path, of at most `ingest.max_media_bytes`.
            history: keys of items that a user has had, oldest first, for spaces of a sequence encoder; none of them is
                among the hits.
            vector: float [dimension], made under a contract that shares the spaces' own.
            item_id: key of a stored item; its stored vectors are the query, and it is not among the hits.
            k: 1 … 10,000.
            where: SQL condition over the key and the carried scalars, e.g. "price < 50 AND kind = 'dress'".
            fusion: of several spaces: `rrf`, weighted reciprocal rank fusion, or `score`, weighted min-max scores.
            features: Feast features of the hits to join: ["view:feature", …], or the name of a feature service.
            fields: carried scalars to return; None returns all.
            search_params: of the index, e.g. {"ef": 128}.

        Returns:
            The entity's key, `rank` int32 from 1, `score` float64 (more is better: cosine, inner product, or minus the
            squared distance; the fused score for several spaces), the carried scalars, for several spaces
            `<space>.rank` and `<space>.score` (null where a space did not find the item), then the features.

        Raises:
            UnknownSpaceError: no such space.
            QueryError: a query that makes no sense as asked.
            FilterError: a condition that does not parse, or names a field that is not carried.
            ContractMismatchError: vectors that do not share a space.
            ServerUnavailableError, StoreUnavailableError: Triton or Milvus does not answer.
        """
        from connector.retrieval.query import build_query

        query = build_query(
            spaces,
            text=text,
            image=image,
            audio=audio,
            video=video,
            history=history,
            vector=vector,
            item_id=item_id,
            k=k,
            where=where,
            fusion=fusion,
            features=features,
            fields=fields,
            search_params=search_params,
            max_text_bytes=self.settings.ingest.max_text_bytes,
            max_media_bytes=self.settings.ingest.max_media_bytes,
        )
        self._require_open()
        named = {name: self._repository.space(name) for name in query.weights}
        found = self._open_searcher().search(query, named)
        if not query.features:
            return found
        from connector.retrieval.enrich import join_features

        key = next(iter(named.values())).join_key.name
        return join_features(found, key, query.features, self._repository.feature_store)

    @property
    def dead_letter_folder(self) -> Path:
        """Folder of the dead-letter tables, one Parquet file for each ingest that left rows out."""
        return self.path / "data" / "dead_letters"

    @property
    def model_repository(self) -> Path:
        """Folder of the Triton model repository."""
        return self._repository.model_repository

    @property
    def encoders(self) -> EncoderProvider:
        """Where encoders come from: `encoders.get(contract)`, and `encoders.describe()` in one line."""
        return self._encoder_provider()

    def versions(self, space: str) -> list[SpaceVersion]:
        """Every version of a space: the one that serves, candidates and previous ones; oldest first.

        Raises:
            UnknownSpaceError: no such space.
        """
        from connector.versions import find_versions

        self._require_open()
        return find_versions(self._repository, space)

    def promote(
        self,
        space: str,
        version: str | int | None = None,
        *,
        settings: GateSettings | None = None,
        metrics: Mapping[str, Callable[[Trial], float]] | None = None,
        override: Sequence[str] = (),
        notice: Callable[[str], None] = lambda _: None,
    ) -> PromotionReport:
        """Let a candidate version of a space serve, if it passes the gate: contract, rows, completeness, recall of its
        index against exact search, overlap of neighbours with the serving version, and the caller's metrics.

        Args:
            version: `4`, or `4r2` for its second revision; None takes the highest candidate.
            settings: bounds of the gate.
            metrics: name → figure of a version, more is better; the candidate's must not be lower.
            override: names of checks that may fail.

        Raises:
            PromotionError: a check failed; nothing moved. Its `report` has every figure.
            UnknownSpaceError: no such space, version, or no candidate.
        """
        from connector.versions import promote

        self._require_open()
        return promote(
            self._repository,
            space,
            encoder_for=self._encoder,
            version=version,
            settings=settings,
            metrics=metrics,
            override=override,
            notice=notice,
        )

    def rollback(self, space: str, version: str | int | None = None) -> PromotionReport:
        """Let the version of a space serve again that served before the last promotion, or the one named.

        Raises:
            UnknownSpaceError: no such space, or nothing to go back to.
            PromotionError: that version holds no rows.
        """
        from connector.versions import rollback

        self._require_open()
        return rollback(self._repository, space, version=version)

    def prune(
        self,
        space: str,
        *,
        keep: int = 1,
        versions: Sequence[str | int] = (),
        logs: bool = False,
        dry_run: bool = False,
    ) -> list[SpaceVersion]:
        """Remove previous versions of a space beyond the newest `keep`, or those named → what was removed.

        Args:
            logs: their offline logs too.
            dry_run: only say which.

        Raises:
            ConfigurationError: a version that serves.
        """
        from connector.versions import prune

        self._require_open()
        return prune(self._repository, space, keep=keep, versions=versions, logs=logs, dry_run=dry_run)

    def reconcile(self, space: str, *, repair: bool = False) -> ReconcileReport:
        """Compare the offline log of a space or content view with Milvus, for the version that serves and candidates.

        Args:
            repair: write what Milvus lacks or has otherwise than the log, delete what the log does not have.

        Raises:
            UnknownSpaceError: neither a space nor a content view.
            StoreError: a log that cannot be read, or no room for temporary files.
            StoreUnavailableError: Milvus does not answer.
        """
        from connector.upkeep import reconcile

        self._require_open()
        return reconcile(self._repository, space, repair=repair)

    def compact(self, space: str) -> list[Compaction]:
        """Merge the small parts of the offline logs of a space, every version, or of a content view.

        Feast's own jobs over these logs should not run meanwhile.

        Raises:
            UnknownSpaceError: neither a space nor a content view.
            StoreError: a log cannot be read or written, or another process is rewriting it.
        """
        from connector.upkeep import compact

        self._require_open()
        return compact(self._repository, space)

    def delete(self, entity: str, keys: Sequence[str | int], *, dry_run: bool = False) -> DeletionReceipt:
        """Remove entities from every space and version, plain view, offline log, Feast's online store and dead letter.

        Logs first, Milvus second; killed in between, it is completed by giving it again. A later ingest of the same key
        is allowed: it is a new row.

        Args:
            entity: name of the Feast entity.
            keys: values of its join key.
            dry_run: only count what would be removed where.

        Returns:
            What was removed where; also kept in `data/deletions`, with hashes in place of the keys.

        Raises:
            UnknownSpaceError: no such entity.
            QueryError: no key, or one that is not of the join key's type.
            StoreError: an ingest is under way.
            StoreUnavailableError: Milvus does not answer.
        """
        from connector.upkeep import delete_entities

        self._require_open()
        return delete_entities(
            self._repository,
            entity,
            keys,
            dead_letters=self.dead_letter_folder,
            receipts=self.path / "data" / "deletions",
            dry_run=dry_run,
        )

    def count(self, space: str) -> int:
        """Rows of a space in Milvus."""
        return self._vector_store().count(self._repository.space(space).collection)

    def close(self) -> None:
        """Release connections, encoders and threads; closing twice is fine."""
        with self._lock:
            self._closed = True
            pool, encoders = self._pool, self._encoders
            self._pool = self._encoders = self._searcher = None
        if pool is not None:
            pool.shutdown()
        if encoders is not None:
            encoders.close()
        self._repository.close()

    def __enter__(self) -> Connector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _targets(self, entity: str | None, names: Sequence[str] | None) -> list[Any]:
        from connector.ingest.targets import view_target
        from connector.spaces import is_content_view
        from connector.versions import live_views

        views = self._repository.snapshot().views
        entities = {each for view in views.values() for each in view.entities}
        if entity is None:
            if len(entities) != 1:
                raise ConfigurationError(f"say whose rows these are by entity=; {suggestion('', entities)}")
            entity = next(iter(entities))
        own = {name: view for name, view in views.items() if entity in view.entities}
        if not own:
            raise UnknownSpaceError(f"no space or content view of entity {entity!r}: {suggestion(entity, entities)}")
        for name in names or ():
            if name not in own:
                raise UnknownSpaceError(f"no space or content view {name!r} of {entity}: {suggestion(name, own)}")
        chosen = sorted(own) if names is None else list(dict.fromkeys(names))
        targets = []
        for name in chosen:
            live = [own[name]] if is_content_view(own[name]) else live_views(self._repository, name)
            for number, view in enumerate(live):
                target = view_target(view, self._repository.offline_log(view))
                targets.append(replace(target, name=str(target.collection)) if number else target)
        return targets

    def _vector_store(self) -> VectorStore:
        self._require_open()
        return self._repository.vector_store

    def _encoder_provider(self) -> EncoderProvider:
        from connector.serving import EncoderProvider

        with self._lock:
            self._require_open()
            if self._encoders is None:
                self._encoders = EncoderProvider(self.settings.triton, self.path)
            return self._encoders

    def _encoder(self, contract: EncoderContract) -> Encoder:
        """The encoder of a contract; a shipped one is published first where the model repository lacks it."""
        from connector.applying import publish_defaults

        if self.settings.triton.url is None and contract.hash not in self._at_hand:
            with self._lock:
                publish_defaults(self.model_repository, [contract], lambda _: None)
                self._at_hand.add(contract.hash)
        return self._encoder_provider().get(contract)

    def _open_searcher(self) -> Searcher:
        if self._searcher is not None:
            return self._searcher
        from connector.retrieval.search import Searcher

        with self._lock:
            self._require_open()
            if self._searcher is None:
                self._pool = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="connector-search")
                self._searcher = Searcher(self._vector_store(), self._encoder, self._pool)
            return self._searcher

    def _require_open(self) -> None:
        if self._closed:
            raise ConfigurationError("this Connector is closed; open another one")
