"""Feast views and spaces → collection specs, and a spec's JSON form, which is stamped on its collection."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from connector.errors import ConfigurationError
from connector.spaces import (
    TAG_CONTRACT,
    TAG_CONTRACT_HASH,
    TAG_INDEX,
    TAG_REVISION,
    EmbeddingSpace,
    FieldSpec,
    collection_name,
)
from connector.stores.base import CollectionSpec, Metric, ScalarField, ScalarType, VectorField
from encoders.contract import EncoderContract

if TYPE_CHECKING:
    from feast import FeatureView

FORMAT = 1
DEFAULT_INDEX: dict[str, Any] = {"index_type": "HNSW", "M": 16, "efConstruction": 200}
METRICS: dict[str, Metric] = {
    "": "COSINE",
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
        ConfigurationError: a join key that is neither a string nor an integer.
    """
    return CollectionSpec(
        name=space.collection,
        keys=(_key(space.name, space.join_key),),
        fields=tuple(ScalarField(field.name, scalar_type(field.dtype)) for field in space.fields),
        vector=VectorField(space.vector_field, space.contract.dimension, space.contract.metric, dict(space.index)),
        contract_hash=space.contract.hash,
    )


def collection_spec_of_view(view: FeatureView) -> CollectionSpec:
    """Spec of any Feast feature view's collection, embedding space or not.

    Raises:
        ConfigurationError: a join key of unknown type or neither a string nor an integer, a vector without a length,
            or an unknown metric.
    """
    tags = view.tags
    version = EncoderContract.from_json(tags[TAG_CONTRACT]).version if TAG_CONTRACT in tags else 1
    keys = [FieldSpec(column.name, str(column.dtype)) for column in view.entity_columns]
    return CollectionSpec(
        name=collection_name(view.name, version, int(tags.get(TAG_REVISION, "1"))),
        keys=tuple(_key(view.name, key) for key in keys) or (_no_entity(view),),
        fields=tuple(ScalarField(f.name, scalar_type(str(f.dtype))) for f in view.features if not f.vector_index),
        vector=next((_vector(view, field) for field in view.features if field.vector_index), None),
        contract_hash=tags.get(TAG_CONTRACT_HASH, ""),
    )


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


def _vector(view: FeatureView, field: Any) -> VectorField:
    if not field.vector_length:
        raise ConfigurationError(f"feature view {view.name}: vector {field.name} needs vector_length=")
    name = str(field.vector_search_metric or "").upper()
    if name not in METRICS:
        raise ConfigurationError(
            f"feature view {view.name}: vector {field.name} has metric {name!r}; use COSINE, IP or L2"
        )
    index = json.loads(view.tags[TAG_INDEX]) if TAG_INDEX in view.tags else dict(DEFAULT_INDEX)
    return VectorField(field.name, int(field.vector_length), METRICS[name], index)


def _no_entity(view: FeatureView) -> ScalarField:
    """Feast's stand-in key of a view without entities."""
    from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_NAME

    if list(view.entities) != [DUMMY_ENTITY_NAME]:
        raise ConfigurationError(
            f"feature view {view.name}: the type of its join key is not known yet; add it to schema=, or apply it first"
        )
    return ScalarField(str(DUMMY_ENTITY_ID), "string")
