"""Embedding spaces: declared as plain Feast feature views, read back out of the Feast registry.

A space is one encoder version's vectors for one entity. `embedding_view` makes the feature view; `read_spaces` turns
every such view of a registry back into `EmbeddingSpace` records. Nothing is kept anywhere else.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from connector.errors import ConfigurationError, UnknownSpaceError
from connector.missing import (
    MODALITIES,
    Inputs,
    Missing,
    Parts,
    check_missing,
    missing_of,
    parts_of_json,
    read_inputs,
    says_modalities,
)
from encoders.contract import EncoderContract, require_shared_space

if TYPE_CHECKING:
    from feast import Entity, FeatureView, Field

EVENT_TIMESTAMP = "event_timestamp"
CREATED_TIMESTAMP = "created_timestamp"

TAG_KIND = "connector/kind"
TAG_CONTRACT = "connector/contract"
TAG_CONTRACT_HASH = "connector/contract_hash"
TAG_QUERIES = "connector/queries"
TAG_INPUTS = "connector/inputs"
TAG_INPUT_KIND = "connector/input_kind"
TAG_PARTS = "connector/parts"
TAG_MISSING = "connector/missing"
TAG_INDEX = "connector/index"
TAG_REVISION = "connector/revision"
TAG_KEYWORD_FIELDS = "connector/keyword_fields"
TAG_PARTITION_KEY = "connector/partition_key"
TAG_SEARCH_PARAMS = "connector/search_params"
TAG_PREVIOUS = "connector/previous"
# Folder of the logs that name no other, in the feature repository.
LOGS = "data"

InputKind = Literal["raw", "vector"]

RESULT_COLUMNS = frozenset({"rank", "score", "query", "distance"})
"""Columns of search results; a carried field cannot be called so."""


@dataclass(frozen=True)
class FieldSpec:
    """A scalar carried beside the vector: catalogue column, Feast field and Milvus column at once.

    Attributes:
        name: its name in all three.
        dtype: Feast type name: `Bool`, `Int32`, `Int64`, `Float32`, `Float64`, `String`, `UnixTimestamp`, …
    """

    name: str
    dtype: str


@dataclass(frozen=True)
class EmbeddingSpace:
    """One embedding space as the Feast registry declares it.

    Attributes:
        name: space, feature view and Milvus alias, all the same.
        entity: Feast entity name.
        join_key: the entity's join-key column with its Feast type name.
        vector_field: the one vector feature.
        contract: what the stored vectors are.
        queries: contracts of encoders whose vectors may query this space, its own first.
        inputs: catalogue columns that are encoded (joined by newlines for text), or the one that holds ready vectors.
        input_kind: `raw` (encode) or `vector` (bring your own).
        fields: scalars carried beside the vector; all of them can be filtered on.
        log_path: folder of the offline log, relative to the repository, or a URL.
        index: Milvus index settings, e.g. {"index_type": "HNSW", "M": 16, "efConstruction": 200}.
        revision: of what is carried beside the vectors of one encoder version, from 1.
        keyword_fields: string fields that are searched by words too, where the server can.
        partition_key: field whose value chooses a row's partition; empty for none.
        parts: modality → catalogue columns, where the space has inputs of several modalities.
        missing: what becomes of an item that lacks one: no row (`absent`), a vector made from the others (`impute`), or
            a dead letter (`error`).
    """

    name: str
    entity: str
    join_key: FieldSpec
    vector_field: str
    contract: EncoderContract
    queries: tuple[EncoderContract, ...]
    inputs: tuple[str, ...]
    input_kind: InputKind
    fields: tuple[FieldSpec, ...]
    log_path: str
    index: dict[str, Any]
    revision: int = 1
    keyword_fields: tuple[str, ...] = ()
    partition_key: str = ""
    parts: Parts = ()
    missing: Missing = "absent"

    @property
    def says_modalities(self) -> bool:
        """Whether rows carry the field `modalities`."""
        return says_modalities(self.contract, self.missing) and self.input_kind == "raw"

    @property
    def wanted(self) -> tuple[str, ...]:
        """Modalities that an item must have for its vector to be made of what it is."""
        if self.contract.modality != "fused":
            return (self.contract.modality,)
        return tuple(modality for modality, _ in self.parts)

    @property
    def version(self) -> int:
        """Version of the space: its encoder's version."""
        return self.contract.version

    @property
    def collection(self) -> str:
        """Milvus collection that holds this version."""
        return collection_name(self.name, self.version, self.revision)


def collection_name(space: str, version: int, revision: int = 1) -> str:
    """`item_image`, 3 → `item_image__v3`; its second revision is `item_image__v3_r2`."""
    return f"{space}__v{version}" + (f"_r{revision}" if revision > 1 else "")


def version_of(space: str, collection: str) -> tuple[int, int] | None:
    """Version and revision of a collection of `space`, or None for a collection of something else."""
    found = re.fullmatch(re.escape(space) + r"__v([1-9][0-9]*)(?:_r([1-9][0-9]*))?", collection, re.ASCII)
    return None if found is None else (int(found[1]), int(found[2] or 1))


def view_of(collection: str) -> str | None:
    """Name of the view that a collection or a default log folder is a version of, or None where it is none."""
    found = re.fullmatch(r"(.+?)__v[1-9][0-9]*(?:_r[1-9][0-9]*)?", collection, re.ASCII)
    return None if found is None else found[1]


def default_log_path(space: str, version: int, revision: int = 1) -> str:
    """Folder of a space's offline log, relative to the feature repository."""
    return f"{LOGS}/{collection_name(space, version, revision)}"


def embedding_view(
    name: str,
    *,
    entity: Entity,
    contract: EncoderContract,
    inputs: Inputs = (),
    vectors: str | None = None,
    fields: Sequence[Field] = (),
    queries: Iterable[EncoderContract] = (),
    log_path: str | None = None,
    ttl: timedelta | None = None,
    index: dict[str, Any] | None = None,
    keywords: Sequence[str] = (),
    missing: Missing = "absent",
    revision: int = 1,
    description: str = "",
    owner: str = "",
    tags: dict[str, str] | None = None,
) -> FeatureView:
    """Declare an embedding space as a plain Feast feature view.

    Args:
        name: the space's one name everywhere.
        contract: of the encoder that makes the stored vectors; its version is the version of the space.
        inputs: catalogue columns to encode. Several text columns are joined by newlines, nulls left out. For a fused
            encoder, and for `missing="impute"`, by modality: `{"text": ["title", "description"], "image": "picture"}`.
        vectors: instead of `inputs`: a catalogue column that already holds vectors made under `contract`; where it is
            null, the item lacks the modality and has no row.
        fields: filterable scalars copied from the catalogue columns of the same names.
        queries: contracts of further encoders that may query the space (the text tower of an image space).
        log_path: folder of the offline log; default `data/<name>__v<version>` in the repository.
        ttl: as in Feast; None keeps rows for ever.
        index: Milvus index settings; default HNSW with M=16, efConstruction=200.
        keywords: names of string fields to be searched by words (BM25) too, where the server can.
        missing: of an item that lacks an input (of a fused encoder: any): `absent` leaves it out, `error` makes it a
            dead letter, `impute` makes its vector from the other inputs: a fused encoder of what is there, any other
            by the aligned encoder of that modality among `queries`. Rows then carry the field `modalities`.
        revision: raise it when fields, index or `missing` change while the encoder stays; the new shape is then a
            version of its own, filled beside the old one.

    Raises:
        ConfigurationError: neither or both of `inputs` and `vectors`, or a field named like a reserved column.
        ContractMismatchError: a query contract that does not share the space.
    """
    from feast import FeatureView, Field, FileSource
    from feast.types import Array, Float32, String

    parts = read_inputs(inputs, contract)
    input_columns = tuple(dict.fromkeys(column for _, columns in parts for column in columns))
    if bool(input_columns) == (vectors is not None):
        raise ConfigurationError(f"space {name}: give either inputs= (columns to encode) or vectors= (ready vectors)")
    vector_field = f"{name}_embedding"
    added = [Field(name=MODALITIES, dtype=String)] if parts and says_modalities(contract, missing) else []
    reserved = {
        EVENT_TIMESTAMP,
        CREATED_TIMESTAMP,
        vector_field,
        entity.join_key,
        *RESULT_COLUMNS,
        *(f.name for f in added),
    }
    for field in fields:
        if field.name in reserved or field.name.startswith("_"):
            raise ConfigurationError(f"space {name}: field {field.name!r} is a reserved name; call it otherwise")
    for keyword in keywords:
        if all(field.name != keyword or field.dtype != String for field in fields):
            raise ConfigurationError(
                f"space {name}: keyword field {keyword!r} is not a String field; add it to fields="
            )
    if revision < 1:
        raise ConfigurationError(f"space {name}: revision {revision}: revisions count from 1")
    further = tuple(queries)
    for query in further:
        require_shared_space(contract, query, where=f"space {name}")
    check_missing(name, contract, parts, missing, further)
    path = log_path or default_log_path(name, contract.version, revision)
    return FeatureView(
        name=name,
        entities=[entity],
        schema=[
            _join_key_field(entity),
            Field(
                name=vector_field,
                dtype=Array(Float32),
                vector_index=True,
                vector_length=contract.dimension,
                vector_search_metric=contract.metric,
                # Feast updates a view's source only along with its fields, so the field says which version it is.
                tags={TAG_CONTRACT_HASH: contract.hash, TAG_REVISION: str(revision)},
            ),
            *fields,
            *added,
        ],
        source=FileSource(
            name=f"{name}_log",
            path=f"{path.rstrip('/')}/*.parquet",
            timestamp_field=EVENT_TIMESTAMP,
            created_timestamp_column=CREATED_TIMESTAMP,
        ),
        ttl=ttl if ttl is not None else timedelta(0),
        description=description,
        owner=owner,
        tags={
            **(tags or {}),
            TAG_KIND: "embedding",
            TAG_CONTRACT: contract.to_json(),
            TAG_CONTRACT_HASH: contract.hash,
            TAG_QUERIES: json.dumps([json.loads(q.to_json()) for q in further]),
            TAG_INPUTS: json.dumps([vectors] if vectors is not None else list(input_columns)),
            TAG_INPUT_KIND: "vector" if vectors is not None else "raw",
            TAG_INDEX: json.dumps(index or {"index_type": "HNSW", "M": 16, "efConstruction": 200}),
            TAG_REVISION: str(revision),
            **(
                {TAG_PARTS: json.dumps(dict(parts))}
                if [modality for modality, _ in parts] != [contract.modality]
                else {}
            ),
            **({TAG_MISSING: missing} if missing != "absent" else {}),
            **({TAG_KEYWORD_FIELDS: json.dumps(list(keywords))} if keywords else {}),
        },
    )


def content_view(
    name: str,
    *,
    entity: Entity,
    fields: Sequence[Field],
    log_path: str | None = None,
    ttl: timedelta | None = None,
    description: str = "",
    owner: str = "",
    tags: dict[str, str] | None = None,
) -> FeatureView:
    """Declare a plain feature view (no vector) that `ingest` fills from the catalogue columns of the same names."""
    from feast import FeatureView, FileSource

    return FeatureView(
        name=name,
        entities=[entity],
        schema=[_join_key_field(entity), *fields],
        source=FileSource(
            name=f"{name}_log",
            path=f"{(log_path or f'data/{name}').rstrip('/')}/*.parquet",
            timestamp_field=EVENT_TIMESTAMP,
            created_timestamp_column=CREATED_TIMESTAMP,
        ),
        ttl=ttl if ttl is not None else timedelta(0),
        description=description,
        owner=owner,
        tags={**(tags or {}), TAG_KIND: "content"},
    )


def space_of(view: FeatureView) -> EmbeddingSpace:
    """Read a feature view made by `embedding_view`.

    Raises:
        UnknownSpaceError: the view is not an embedding space.
        ConfigurationError: its tags are not as `embedding_view` writes them.
    """
    if view.tags.get(TAG_KIND) != "embedding":
        raise UnknownSpaceError(f"feature view {view.name!r} is not an embedding space; declare it by embedding_view()")
    try:
        return _read_tags(view)
    except (KeyError, ValueError, TypeError, StopIteration) as error:
        raise ConfigurationError(
            f"feature view {view.name!r} has connector/ tags that cannot be read ({type(error).__name__}: {error}); "
            "declare it by embedding_view() and apply it again"
        ) from error


def _read_tags(view: FeatureView) -> EmbeddingSpace:
    tags = view.tags
    contract = EncoderContract.from_json(tags[TAG_CONTRACT])
    vector = next(field for field in view.features if field.vector_index)
    return EmbeddingSpace(
        name=view.name,
        entity=view.entities[0],
        join_key=FieldSpec(view.entity_columns[0].name, str(view.entity_columns[0].dtype)),
        vector_field=vector.name,
        contract=contract,
        queries=(contract, *(EncoderContract.from_dict(record) for record in _json_list(tags[TAG_QUERIES], dict))),
        inputs=tuple(_json_list(tags[TAG_INPUTS], str)),
        input_kind="vector" if tags[TAG_INPUT_KIND] == "vector" else "raw",
        fields=tuple(FieldSpec(f.name, str(f.dtype)) for f in view.features if not f.vector_index),
        log_path=log_folder(view),
        index=dict(json.loads(tags[TAG_INDEX])),
        revision=int(tags.get(TAG_REVISION, "1")),
        keyword_fields=tuple(_json_list(tags.get(TAG_KEYWORD_FIELDS, "[]"), str)),
        partition_key=tags.get(TAG_PARTITION_KEY, ""),
        parts=parts_of_json(tags.get(TAG_PARTS, "{}")),
        missing=missing_of(tags.get(TAG_MISSING, "absent")),
    )


def _json_list(text: str, kind: type) -> list[Any]:
    values = json.loads(text)
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise TypeError(f"expected a list of {kind.__name__}, found {text[:80]}")
    return values


def log_folder(view: FeatureView) -> str:
    """Folder of a view's offline log, as written in its file source."""
    path: str = view.batch_source.path
    return path.removesuffix("/*.parquet")


def is_content_view(view: FeatureView) -> bool:
    """Whether the view was made by `content_view`."""
    return bool(view.tags.get(TAG_KIND) == "content")


def view_record(view: FeatureView) -> str:
    """A feature view as text, to be kept with its collection; `view_of_record` reads it back."""
    record: bytes = view.to_proto().spec.SerializeToString(deterministic=True)
    return base64.b64encode(record).decode("ascii")


def view_of_record(text: str) -> FeatureView:
    """The feature view that `view_record` wrote.

    Raises:
        ConfigurationError: the text is not such a record.
    """
    from feast import FeatureView
    from feast.protos.feast.core.FeatureView_pb2 import FeatureView as FeatureViewProto

    proto = FeatureViewProto()
    try:
        proto.spec.ParseFromString(base64.b64decode(text, validate=True))
        if not proto.spec.name:
            raise ValueError("it is empty")
        return FeatureView.from_proto(proto)
    except Exception as error:  # protobuf and Feast raise classes of their own for each way to be wrong
        raise ConfigurationError(f"the record of a feature view cannot be read: {error}; apply it again") from error


def read_spaces(views: Iterable[FeatureView]) -> dict[str, EmbeddingSpace]:
    """Every embedding space among `views`, by name."""
    return {view.name: space_of(view) for view in views if view.tags.get(TAG_KIND) == "embedding"}


def _join_key_field(entity: Entity) -> Field:
    from feast import Field
    from feast.types import from_value_type

    return Field(name=entity.join_key, dtype=from_value_type(entity.value_type))
