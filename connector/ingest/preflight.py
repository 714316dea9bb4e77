"""Everything that can be known to fail, before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from connector.errors import CatalogueError, ConfigurationError, ContractMismatchError, SchemaMismatchError
from connector.ingest.catalogue import Catalogue, hint
from connector.ingest.cells import arrow_type
from connector.ingest.report import ViewReport
from connector.ingest.targets import ViewTarget
from connector.missing import MODALITIES
from connector.spaces import EmbeddingSpace, FieldSpec
from connector.stores.base import CollectionSpec, VectorStore
from encoders.base import Encoder
from encoders.contract import EncoderContract, find_aligned

MEDIA = ("image", "audio", "video")


@dataclass(frozen=True)
class Plan:
    """A target that takes part.

    Attributes:
        collection: shape of its collection; None for a target that is only logged.
        encoder: None where vectors are ready or there are none.
        stand_ins: modality → encoder that makes the vector of an item without the space's own modality.
        columns: connector columns that it reads, those absent from the catalogue left out.
    """

    target: ViewTarget
    collection: CollectionSpec | None
    encoder: Encoder | None
    columns: tuple[str, ...]
    stand_ins: Mapping[str, Encoder] = dataclasses.field(default_factory=dict)

    @property
    def encodes_media(self) -> bool:
        """Whether files are decoded for it."""
        return self.encoder is not None and self.encoder.contract.modality in (*MEDIA, "fused")


def make_plans(
    catalogue: Catalogue,
    targets: Sequence[ViewTarget],
    store: VectorStore,
    encoder_for: Callable[[EncoderContract], Encoder],
) -> tuple[list[Plan], dict[str, ViewReport]]:
    """Match targets with the catalogue, the store and the encoders.

    Returns:
        a plan for each target that takes part, and an empty report for every target.

    Raises:
        CatalogueError: the catalogue has columns for none of the targets.
        ConfigurationError: targets that do not fit together, or a field type that cannot be filled.
        SchemaMismatchError: a collection is absent or differs from its view.
        ContractMismatchError: an encoder does not carry its space's contract.
    """
    common_key(targets)
    reports = {target.name: _match(catalogue, target) for target in targets}
    taking_part = [target for target in targets if not reports[target.name].skipped]
    if not taking_part:
        wanted = [c for target in targets for c in _wanted(target)]
        raise CatalogueError(
            f"{catalogue.name}: none of the columns that {', '.join(t.name for t in targets)} read"
            f"{hint(wanted[0] if wanted else '', catalogue.columns)}; map them by mapping="
        )
    collections = {target.name: _collection(store, target) for target in taking_part}
    encoders: dict[str, Encoder] = {}
    plans = []
    for target in taking_part:
        encoder = _encoder(target.space, encoder_for, encoders) if target.space is not None else None
        columns = tuple(column for column in _wanted(target) if column in catalogue.columns)
        stand_ins = _stand_ins(target.space, encoder_for, encoders) if target.space is not None else {}
        plans.append(Plan(target, collections[target.name], encoder, columns, stand_ins))
    return plans, reports


def common_key(targets: Sequence[ViewTarget]) -> FieldSpec:
    """The join key that all targets share.

    Raises:
        ConfigurationError: no targets, two with one name, two join keys, or a type that no key or field can have.
    """
    if not targets:
        raise ConfigurationError("nothing to ingest into: declare a view by embedding_view() and run `connector apply`")
    if len({target.name for target in targets}) < len(targets):
        raise ConfigurationError("the same view is given twice")
    first = targets[0]
    for target in targets:
        if target.join_key != first.join_key:
            raise ConfigurationError(
                f"views {first.name} and {target.name} have different join keys ({first.join_key.name} "
                f"{first.join_key.dtype}, {target.join_key.name} {target.join_key.dtype}); ingest them apart"
            )
        for field in target.fields:
            if arrow_type(field.dtype) is None:
                raise ConfigurationError(
                    f"view {target.name}: field {field.name} has type {field.dtype}, which ingest "
                    "cannot fill; declare another type"
                )
    if first.join_key.dtype not in ("String", "Int64", "Int32"):
        raise ConfigurationError(f"join key {first.join_key.name} has type {first.join_key.dtype}; use String or Int64")
    return first.join_key


def _wanted(target: ViewTarget) -> list[str]:
    inputs = target.space.inputs if target.space is not None else ()
    return list(dict.fromkeys((*inputs, *_copied(target))))


def _copied(target: ViewTarget) -> list[str]:
    """Fields that are copied from the catalogue."""
    made = target.space is not None and target.space.says_modalities
    return [field.name for field in target.fields if not (made and field.name == MODALITIES)]


def _match(catalogue: Catalogue, target: ViewTarget) -> ViewReport:
    report = ViewReport(missing=[column for column in _wanted(target) if column not in catalogue.columns])
    for needed in _needed(target):
        if needed and not any(column in catalogue.columns for column in needed):
            report.skipped = f"no column {' or '.join(needed)} in the catalogue"
            break
    return report


def _needed(target: ViewTarget) -> list[tuple[str, ...]]:
    """Groups of columns; the catalogue must have one of each for the target to take part."""
    if target.space is None:
        return [tuple(field.name for field in target.fields)]
    if target.space.parts and target.space.missing != "impute":
        return [columns for _, columns in target.space.parts]
    return [target.space.inputs]


def _collection(store: VectorStore, target: ViewTarget) -> CollectionSpec | None:
    if target.collection is None:
        return None
    spec = store.describe(target.collection)
    if spec is None:
        raise SchemaMismatchError(f"view {target.name}: no collection {target.collection}; run `connector apply`")
    differences = []
    if [key.name for key in spec.keys] != [target.join_key.name]:
        differences.append(f"its key is {', '.join(key.name for key in spec.keys)}, not {target.join_key.name}")
    lacking = {field.name for field in target.fields} - {field.name for field in spec.fields}
    if lacking:
        differences.append(f"it lacks {', '.join(sorted(lacking))}")
    if (spec.vector is None) != (target.space is None):
        differences.append("one has a vector, the other has none")
    if differences:
        raise SchemaMismatchError(
            f"collection {target.collection} does not fit view {target.name}: {'; '.join(differences)}; "
            "run `connector apply`, under a new version where fields changed"
        )
    _check_vector(target, spec)
    return spec


def _check_vector(target: ViewTarget, spec: CollectionSpec) -> None:
    if target.space is None or spec.vector is None:
        return
    contract = target.space.contract
    if spec.contract_hash and spec.contract_hash != contract.hash:
        raise ContractMismatchError(
            f"collection {target.collection} holds vectors of contract {spec.contract_hash}, space {target.name} "
            f"declares {contract.label}; give the encoder a new version"
        )
    if (spec.vector.dimension, spec.vector.metric) != (contract.dimension, contract.metric):
        raise SchemaMismatchError(
            f"collection {target.collection} has dimension {spec.vector.dimension} and {spec.vector.metric}, space "
            f"{target.name} has {contract.dimension} and {contract.metric}; give the encoder a new version"
        )


def _encoder(
    space: EmbeddingSpace, encoder_for: Callable[[EncoderContract], Encoder], found: dict[str, Encoder]
) -> Encoder | None:
    if space.input_kind == "vector":
        return None
    contract = space.contract
    if contract.modality not in ("text", *MEDIA, "fused"):
        raise ConfigurationError(
            f"space {space.name}: a {contract.modality} encoder takes no catalogue columns; bring ready vectors"
        )
    encoder = _found(space, contract, encoder_for, found)
    takes = getattr(encoder, "modalities", None)
    if takes is not None and not set(space.wanted) <= set(takes):
        raise ConfigurationError(
            f"space {space.name}: inputs of {', '.join(space.wanted)}, but {contract.label} takes {', '.join(takes)}"
        )
    return encoder


def _stand_ins(
    space: EmbeddingSpace, encoder_for: Callable[[EncoderContract], Encoder], found: dict[str, Encoder]
) -> dict[str, Encoder]:
    if space.missing != "impute" or space.contract.modality == "fused":
        return {}
    others = (modality for modality, _ in space.parts if modality != space.contract.modality)
    contracts = {modality: find_aligned(space.contract, space.queries, modality) for modality in others}
    return {name: _found(space, each, encoder_for, found) for name, each in contracts.items() if each is not None}


def _found(
    space: EmbeddingSpace,
    contract: EncoderContract,
    encoder_for: Callable[[EncoderContract], Encoder],
    found: dict[str, Encoder],
) -> Encoder:
    if contract.hash not in found:
        encoder = encoder_for(contract)
        if encoder.contract.hash != contract.hash:
            raise ContractMismatchError(
                f"space {space.name} declares {contract.label}, the encoder found is {encoder.contract.label}; "
                "publish the one the space declares, or give the space a new version"
            )
        found[contract.hash] = encoder
    return found[contract.hash]
