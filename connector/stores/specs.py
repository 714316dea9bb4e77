"""Feast views and spaces → collection specs, and a spec's JSON form, which is stamped on its collection."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from connector.errors import ConfigurationError
from connector.spaces import (
    CREATED_TIMESTAMP,
    EVENT_TIMESTAMP,
    TAG_CONTRACT,
    TAG_CONTRACT_HASH,
    TAG_INDEX,
    TAG_KEYWORD_FIELDS,
    TAG_MISSING,
    TAG_PARTITION_KEY,
    TAG_REVISION,
    TAG_SEARCH_PARAMS,
    EmbeddingSpace,
    FieldSpec,
    collection_name,
)
from connector.stores.base import CollectionSpec, Metric, ScalarField, ScalarType, VectorField
from encoders.contract import EncoderContract

if TYPE_CHECKING:
    from feast import FeatureView

T = TypeVar("T")
FORMAT = 2
DEFAULT_INDEX: dict[str, Any] = {"index_type": "HNSW", "M": 16, "efConstruction": 200}
METRICS: dict[str, Metric] = {
    "": "L2",  # Feast asks for L2 where a field declares nothing
    "COSINE": "COSINE",
    "IP": "IP",
    "INNER_PRODUCT": "IP",
    "DOT": "IP",
    "L2": "L2",
    "EUCLIDEAN": "L2",
}
SCALARS: dict[str, ScalarType] = {
    "Bool": "bool",
    "Int32": "int64",
    "Int64": "int64",
    "Float32": "float64",
    "Float64": "float64",
    "String": "string",
    "UnixTimestamp": "timestamp",
}


def scalar_type(dtype: str) -> ScalarType:
    """Feast type name → column type; what has no column type of its own is opaque."""
    return SCALARS.get(dtype, "opaque")


def collection_spec(space: EmbeddingSpace) -> CollectionSpec:
    """Spec of an embedding space's collection.

    Raises:
        ConfigurationError: a join key that is neither a string nor an integer, or a partition key that cannot be one.
    """
    return _checked(
        space.name,
        CollectionSpec(
            name=space.collection,
            keys=(_key(space.name, space.join_key),),
            fields=tuple(ScalarField(field.name, scalar_type(field.dtype)) for field in space.fields),
            vector=VectorField(space.vector_field, space.contract.dimension, space.contract.metric, dict(space.index)),
            contract_hash=space.contract.hash,
            partition_key=space.partition_key,
            keyword_fields=space.keyword_fields,
            missing=space.missing,
        ),
    )


def collection_spec_of_view(
    view: FeatureView, *, index: dict[str, Any] | None = None, partition_key: str = "", dimension: int | None = None
) -> CollectionSpec:
    """Spec of any Feast feature view's collection, embedding space or not.

    Args:
        index: of a vector whose view has no tag for it; default HNSW with M=16, efConstruction=200.
        partition_key: where the view has no tag for it and has such a key or field.
        dimension: of a vector whose field has no `vector_length`.

    Raises:
        ConfigurationError: a join key of unknown type or neither a string nor an integer, a vector without a length,
            an unknown metric, or a tag that cannot be read.
    """
    tags = view.tags
    version = _encoder_version(tags[TAG_CONTRACT]) if TAG_CONTRACT in tags else 1
    keys = [FieldSpec(column.name, str(column.dtype)) for column in view.entity_columns]
    settings = _json_tag(view, TAG_INDEX, dict, index or DEFAULT_INDEX)
    spec = CollectionSpec(
        name=collection_name(view.name, version, int(tags.get(TAG_REVISION, "1"))),
        keys=tuple(_key(view.name, key) for key in keys) or (_no_entity(view),),
        fields=tuple(ScalarField(f.name, scalar_type(str(f.dtype))) for f in view.features if not f.vector_index),
        vector=next((_vector(view, field, settings, dimension) for field in view.features if field.vector_index), None),
        contract_hash=tags.get(TAG_CONTRACT_HASH, ""),
        partition_key=tags.get(TAG_PARTITION_KEY, ""),
        keyword_fields=tuple(_json_tag(view, TAG_KEYWORD_FIELDS, list, [])),
        missing=tags.get(TAG_MISSING, "absent"),
    )
    if partition_key and not spec.partition_key and partition_key in _can_partition(spec):
        spec = replace(spec, partition_key=partition_key)
    return _checked(view.name, spec)


def search_params_of_view(view: FeatureView, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """Search parameters that a view's tag asks for, over the store's own.

    Raises:
        ConfigurationError: a tag that is not a JSON object.
    """
    return {**(default or {}), **_json_tag(view, TAG_SEARCH_PARAMS, dict, {})}


def spec_to_json(spec: CollectionSpec) -> str:
    """JSON form, read back by `spec_from_json`."""
    return json.dumps({"format": FORMAT, **asdict(spec)}, sort_keys=True, separators=(",", ":"))


def spec_from_json(text: str) -> CollectionSpec | None:
    """The spec, or None where `text` is not one of this format."""
    try:
        record = json.loads(text)
        if record.pop("format") != FORMAT:
            return None
        vector = record.pop("vector")
        return CollectionSpec(
            keys=tuple(ScalarField(**key) for key in record.pop("keys")),
            keyword_fields=tuple(record.pop("keyword_fields", ())),
            fields=tuple(ScalarField(**field) for field in record.pop("fields")),
            vector=None if vector is None else VectorField(**vector),
            **record,
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _key(view: str, key: FieldSpec) -> ScalarField:
    kind = scalar_type(key.dtype)
    if kind not in ("string", "int64"):
        raise ConfigurationError(
            f"feature view {view}: join key {key.name} is {key.dtype}; declare its entity with String, Int32 or Int64"
        )
    return ScalarField(key.name, kind)


def _vector(view: FeatureView, field: Any, index: dict[str, Any], dimension: int | None) -> VectorField:
    if str(field.dtype) not in ("Array(Float32)", "Array(Float64)"):
        raise ConfigurationError(
            f"feature view {view.name}: vector {field.name} is {field.dtype}; declare it Array(Float32)"
        )
    length = int(field.vector_length or dimension or 0)
    if length <= 0:
        raise ConfigurationError(
            f"feature view {view.name}: vector {field.name} needs vector_length=, or online_store.embedding_dim"
        )
    name = str(field.vector_search_metric or "").upper()
    if name not in METRICS:
        raise ConfigurationError(
            f"feature view {view.name}: vector {field.name} has metric {name!r}; use COSINE, IP or L2"
        )
    return VectorField(field.name, length, METRICS[name], dict(index))


def _json_tag(view: FeatureView, tag: str, kind: type[T], default: T) -> T:
    if tag not in view.tags:
        return default
    value: Any = _parsed(view.tags[tag])
    if not isinstance(value, kind) or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
        wanted = "a JSON object" if kind is dict else "a JSON list of names"
        raise ConfigurationError(f"feature view {view.name}: tag {tag} is {view.tags[tag][:80]!r}; expected {wanted}")
    return value


@lru_cache(maxsize=256)
def _encoder_version(contract: str) -> int:
    return EncoderContract.from_json(contract).version


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    """JSON of a tag, which nobody changes; None where it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _can_partition(spec: CollectionSpec) -> list[str]:
    """What a row's partition can be chosen by; not the primary key, which a single string key is."""
    keys = () if [key.type for key in spec.keys] == ["string"] else spec.keys
    return [scalar.name for scalar in (*keys, *spec.fields) if scalar.type in ("string", "int64")]


def _checked(view: str, spec: CollectionSpec) -> CollectionSpec:
    for scalar in (*spec.keys, *spec.fields):
        if scalar.name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP):
            raise ConfigurationError(
                f"feature view {view}: {scalar.name} is the name of a row's own time; call the feature otherwise"
            )
    texts = [field.name for field in spec.fields if field.type == "string"]
    for name in spec.keyword_fields:
        if name not in texts:
            raise ConfigurationError(
                f"feature view {view}: keyword field {name!r} is not one of its String fields: {', '.join(texts)}"
            )
    able = _can_partition(spec)
    if spec.partition_key and spec.partition_key not in able:
        raise ConfigurationError(
            f"feature view {view}: partition key {spec.partition_key!r} is none of its String, Int32 and Int64 fields "
            f"(nor, of several, its join keys): {', '.join(able) or 'none'}"
        )
    return spec


def _no_entity(view: FeatureView) -> ScalarField:
    """Feast's stand-in key of a view without entities."""
    from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_NAME

    if list(view.entities) != [DUMMY_ENTITY_NAME]:
        raise ConfigurationError(
            f"feature view {view.name}: the type of its join key is not known yet; add it to schema=, or apply it first"
        )
    return ScalarField(str(DUMMY_ENTITY_ID), "string")
