"""A tiny encoder, a store and a log in memory: real implementations of the contracts, small enough to read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from connector.ingest import IngestReport, ViewTarget, ingest_catalogue, space_target
from connector.spaces import EmbeddingSpace, FieldSpec
from connector.stores.base import CollectionSpec, ScalarField, VectorField, VectorStore, WriteResult
from encoders.base import Encoder, EncodeResult
from encoders.contract import EncoderContract, Modality, external_contract

DIMENSION = 4
SCALARS = {"String": "string", "Int64": "int64", "Float64": "float64", "Bool": "bool", "UnixTimestamp": "timestamp"}


class HashEncoder(Encoder):
    """Vectors from hashes. An input that holds `BAD` cannot be encoded; one that holds `NAN` gives a NaN."""

    def __init__(self, contract: EncoderContract) -> None:
        self._contract = contract
        self.batches: list[int] = []

    @property
    def contract(self) -> EncoderContract:
        return self._contract

    def encode_tolerant(self, items: Sequence[Any], side: str = "document") -> EncodeResult:
        self.batches.append(len(items))
        vectors = np.zeros((len(items), self._contract.dimension), dtype=np.float32)
        errors = {}
        for at, item in enumerate(items):
            data = item.encode() if isinstance(item, str) else bytes(item)
            if b"BAD" in data:
                errors[at] = "cannot be decoded"
                continue
            seed = int.from_bytes(hashlib.sha256(data).digest()[:4], "big")
            vectors[at] = np.random.default_rng(seed).standard_normal(self._contract.dimension)
            if b"NAN" in data:
                vectors[at, 0] = np.nan
        return EncodeResult(vectors, errors)


class MemoryLog:
    """Parts by name."""

    folder = ""

    def __init__(self) -> None:
        self.parts: dict[str, pa.Table] = {}
        self.cleaned = 0

    def append(self, table: pa.Table, part: str) -> None:
        self.parts[part] = table

    def drop_part(self, part: str) -> None:
        self.parts.pop(part, None)

    def clean(self) -> None:
        self.cleaned += 1

    def count(self) -> int:
        return sum(table.num_rows for table in self.parts.values())


@dataclass
class MemoryStore(VectorStore):
    """Rows by key; what an ingest needs of a store."""

    specs: dict[str, CollectionSpec] = field(default_factory=dict)
    rows: dict[str, dict[Any, dict[str, Any]]] = field(default_factory=dict)
    fail_after: int | None = None
    error: Exception | None = None
    writes: int = 0

    def create(self, spec: CollectionSpec, record: str = "") -> None:
        self.specs[spec.name] = spec
        self.rows.setdefault(spec.name, {})

    def describe(self, name: str) -> CollectionSpec | None:
        return self.specs.get(name)

    def write(self, name: str, rows: pa.Table) -> WriteResult:
        self.writes += 1
        if self.error is not None and self.fail_after is not None and self.writes > self.fail_after:
            raise self.error
        spec, kept = self.specs[name], self.rows[name]
        expected = {k.name for k in spec.keys} | {f.name for f in spec.fields}
        expected |= {"event_timestamp", "created_timestamp"} | ({spec.vector.name} if spec.vector else set())
        assert set(rows.column_names) == expected
        result = WriteResult()
        for row in rows.to_pylist():
            key = row[spec.keys[0].name]
            if key in kept and kept[key]["event_timestamp"] > row["event_timestamp"]:
                result.stale += 1
                continue
            kept[key] = row
            result.written += 1
        return result

    def count(self, name: str) -> int:
        return len(self.rows[name])

    def record(self, name: str) -> str:
        return ""

    def scan(self, name: str, columns: Sequence[str], where: Any = None, batch_rows: int = 4096) -> Any:
        raise NotImplementedError

    def drop(self, name: str) -> None:
        raise NotImplementedError

    def list_collections(self) -> list[str]:
        return sorted(self.specs)

    def set_alias(self, alias: str, collection: str) -> None:
        raise NotImplementedError

    def resolve_alias(self, alias: str) -> str | None:
        raise NotImplementedError

    def read(self, name: str, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
        raise NotImplementedError

    def search(self, name: str, vectors: Any, k: int, **options: Any) -> pa.Table:
        raise NotImplementedError

    def delete(self, name: str, keys: pa.Table) -> int:
        raise NotImplementedError

    def close(self) -> None:
        pass


def make_space(
    name: str = "item_text",
    *,
    modality: Modality = "text",
    inputs: Sequence[str] = ("title",),
    ready: bool = False,
    fields: dict[str, str] | None = None,
    key: str = "String",
    dimension: int = DIMENSION,
) -> EmbeddingSpace:
    contract = external_contract(f"{modality}_encoder", version=1, dimension=dimension, modality=modality)
    return EmbeddingSpace(
        name=name,
        entity="item",
        join_key=FieldSpec("item_id", key),
        vector_field=f"{name}_embedding",
        contract=contract,
        queries=(contract,),
        inputs=tuple(inputs),
        input_kind="vector" if ready else "raw",
        fields=tuple(FieldSpec(n, t) for n, t in (fields or {}).items()),
        log_path=f"data/{name}__v1",
        index={},
    )


def make_content(fields: dict[str, str], name: str = "item_content", key: str = "String") -> ViewTarget:
    specs = tuple(FieldSpec(n, t) for n, t in fields.items())
    return ViewTarget(name, FieldSpec("item_id", key), specs, MemoryLog(), f"{name}__v1")


def spec_of(target: ViewTarget) -> CollectionSpec:
    def scalar(spec: FieldSpec) -> ScalarField:
        return ScalarField(spec.name, SCALARS.get(spec.dtype, "opaque"))  # type: ignore[arg-type]

    vector, contract_hash = None, ""
    if target.space is not None:
        contract = target.space.contract
        vector = VectorField(target.space.vector_field, contract.dimension, contract.metric)
        contract_hash = contract.hash
    assert target.collection is not None
    fields = tuple(scalar(f) for f in target.fields)
    return CollectionSpec(target.collection, (scalar(target.join_key),), fields, vector, contract_hash)


class Bench:
    """A store, logs and encoders, and a short way to ingest into them."""

    def __init__(self, folder: Path, *targets: ViewTarget | EmbeddingSpace) -> None:
        self.folder = folder
        self.targets = [t if isinstance(t, ViewTarget) else space_target(t, MemoryLog()) for t in targets]
        self.store = MemoryStore()
        self.encoders: dict[str, HashEncoder] = {}
        for target in self.targets:
            if target.collection is not None:
                self.store.create(spec_of(target))

    @property
    def dead(self) -> Path:
        return self.folder / "dead_letters"

    def encoder_for(self, contract: EncoderContract) -> Encoder:
        return self.encoders.setdefault(contract.hash, HashEncoder(contract))

    def ingest(self, source: Any, **options: Any) -> IngestReport:
        options.setdefault("encoder_for", self.encoder_for)
        return ingest_catalogue(source, targets=self.targets, store=self.store, dead_letter_dir=self.dead, **options)

    def rows(self, view: str) -> dict[Any, dict[str, Any]]:
        return self.store.rows[f"{view}__v1"]

    def log(self, view: str) -> MemoryLog:
        found = next(target.log for target in self.targets if target.name == view)
        assert isinstance(found, MemoryLog)
        return found
