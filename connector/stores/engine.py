"""Materialisation without a detour. In feature_store.yaml:

    batch_engine:
      type: connector.stores.engine.ArrowComputeEngine

Feast's own engine takes every value through pandas and a protobuf message of its own, which costs several times what
Milvus needs to store it. This one hands the newest rows of a Parquet source to our online store as Arrow, some
thousands at a time. What it does not know (other sources and stores, folders with more than Parquet files in them,
transformations, aggregations, validation) it leaves to Feast's engine, whose class it extends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.repo_config import FeastConfigBaseModel

from connector.errors import StoreError
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.latest_rows import ParquetRows, latest_rows

if TYPE_CHECKING:
    from feast import FeatureView
    from feast.infra.registry.base_registry import BaseRegistry

PARQUET_STORES = ("DaskOfflineStore", "DuckDBOfflineStore")


class ArrowComputeEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]  # feast is untyped
    """`batch_engine:` of feature_store.yaml."""

    type: Literal["connector.stores.engine.ArrowComputeEngine"] = "connector.stores.engine.ArrowComputeEngine"


class ArrowComputeEngine(LocalComputeEngine):  # type: ignore[misc]  # feast is untyped
    """Feast's local engine with a short way from Parquet to `MilvusOnlineStore`."""

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        view = task.feature_view
        write = self._writer(view)
        if write is None or not _is_plain(view):
            return super()._materialize_one(registry, task, **kwargs)
        job_id = f"{view.name}-{task.start_time}-{task.end_time}"
        try:
            dataset = _dataset(view.batch_source, self.repo_config.repo_path)
            if dataset is None:
                return super()._materialize_one(registry, task, **kwargs)
            entities = [registry.get_entity(name, task.project) for name in view.entities]
            self._copy(view, dataset, [entity.join_key for entity in entities], task, write)
        except Exception as error:  # noqa: BLE001 - a job carries its error to whoever asked for it
            return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def _writer(self, view: FeatureView) -> Callable[[pa.Table], None] | None:
        if type(self.offline_store).__name__ not in PARQUET_STORES:
            return None
        find = getattr(self.online_store, "table_writer", None)
        found: Callable[[pa.Table], None] | None = None if find is None else find(self.repo_config, view)
        return found

    def _copy(
        self,
        view: FeatureView,
        dataset: Any,
        join_keys: list[str],
        task: MaterializationTask,
        write: Callable[[pa.Table], None],
    ) -> None:
        source = view.batch_source
        own_name = {ours: theirs for theirs, ours in (source.field_mapping or {}).items()}
        names = {name: own_name.get(name, name) for name in [*join_keys, *(field.name for field in view.features)]}
        event = own_name.get(source.timestamp_field, source.timestamp_field)
        created = source.created_timestamp_column or None
        created = created and own_name.get(created, created)
        features = tuple(names[field.name] for field in view.features)
        keys = tuple(names[key] for key in join_keys)
        rows = ParquetRows(f"source of feature view {view.name}", dataset, keys, features, event, created)
        for table in latest_rows(rows, task.start_time, task.end_time):
            columns = {name: table.column(theirs) for name, theirs in names.items()}
            columns[EVENT_TIMESTAMP] = table.column(event)
            if created:
                columns[CREATED_TIMESTAMP] = table.column(created)
            write(pa.table(columns))


def _is_plain(view: FeatureView) -> bool:
    """Whether a view's rows are its source's rows."""
    from feast import FeatureView
    from feast.data_format import ParquetFormat
    from feast.feature_view import DUMMY_ENTITY_NAME
    from feast.infra.offline_stores.file_source import FileSource

    return (
        type(view) is FeatureView
        and isinstance(view.batch_source, FileSource)
        and isinstance(view.batch_source.file_format or ParquetFormat(), ParquetFormat)
        and bool(view.entities)
        and view.entities != [DUMMY_ENTITY_NAME]
        and getattr(view, "online", True)
        and not getattr(view, "offline", False)
        and not getattr(view, "enable_validation", False)
        and not getattr(view, "feature_transformation", None)
        and not getattr(view, "aggregations", None)
        and not getattr(view, "source_views", None)
        and not getattr(view.batch_source, "date_partition_column", None)
    )


def _dataset(source: Any, repo_path: Any) -> Any:
    """The source's Parquet files; columns that only some of them have are null in the others.

    Returns:
        None for a folder that holds other folders (whose names may be columns) or other files: Feast's engine knows
        what it makes of those.

    Raises:
        StoreError: there is no file, or one that cannot be read. A job that found none would be recorded as done, and
            its time never be looked at again.
    """
    import pyarrow.dataset as ds
    from feast.infra.offline_stores.file_source import FileSource
    from fsspec.core import get_fs_token_paths

    options: dict[str, Any] = {}
    secrets = source.resolve_credentials() or {}
    names = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    options.update({theirs: secrets[ours] for ours, theirs in names.items() if ours in secrets})
    if source.file_options.s3_endpoint_override:
        options["client_kwargs"] = {"endpoint_url": source.file_options.s3_endpoint_override}
    uri = FileSource.get_uri_for_file_path(repo_path=repo_path, uri=source.file_options.uri)
    try:
        files, _, paths = get_fs_token_paths(uri, storage_options=options)
        if len(paths) == 1 and files.isdir(paths[0]):
            paths = [path for path in files.ls(paths[0], detail=False) if not _is_hidden(path)]
            if any(not path.endswith(".parquet") or files.isdir(path) for path in paths):
                return None
        if not paths:
            raise StoreError(f"{source.path}: there is no Parquet file to materialize; write one, or mend the path")
        found = ds.dataset(sorted(paths), filesystem=files, format="parquet")
        schemas = [fragment.physical_schema for fragment in found.get_fragments()]
        return found.replace_schema(pa.unify_schemas(schemas, promote_options="permissive"))
    except StoreError:
        raise
    except (OSError, pa.ArrowException, ImportError) as error:
        raise StoreError(f"{source.path}: cannot be read: {' '.join(str(error).split())[:200]}") from error


def _is_hidden(path: str) -> bool:
    """`_SUCCESS`, `.part.crc` and the like, which every reader of Parquet folders passes over."""
    return str(path).rstrip("/").rsplit("/", 1)[-1].startswith((".", "_"))
