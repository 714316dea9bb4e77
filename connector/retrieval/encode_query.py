"""Query → one vector for each space, made by an encoder whose contract shares that space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.errors import InvalidInputError, QueryError
from connector.retrieval.query import ARGUMENTS, Query
from connector.spaces import EmbeddingSpace
from encoders.base import Encoder
from encoders.contract import EncoderContract, require_shared_space

EncoderFor = Callable[[EncoderContract], Encoder]


def encode_query(
    query: Query, spaces: Sequence[EmbeddingSpace], encoder_for: EncoderFor, pool: Executor
) -> dict[str, NDArray[np.float32]]:
    """Vectors of a raw or vector query, by space: float32 [dimension] each.

    Each space takes the query of its own modality where that is given, else the one it can be queried by. Spaces that
    are queried by one contract share one encoding.

    Raises:
        QueryError: a space that none of the given modalities can query, a modality that no space uses, or a vector of
            another length.
        ContractMismatchError: one vector for spaces that do not share a space.
    """
    if query.vector is not None:
        return _ready_vector(query.vector, spaces)
    chosen = {space.name: choose_input(space, query.raw) for space in spaces}
    unused = set(query.raw) - {modality for _, used in chosen.values() for modality in used}
    if unused:
        kind = ARGUMENTS.get(name := min(unused), name)
        raise QueryError(
            f"{kind}= would be left unused: {', '.join(chosen)} "
            f"{'takes' if len(chosen) == 1 else 'take'} the other input; add a {kind} space, or leave {kind}= out"
        )
    distinct = {(contract.hash, used): contract for contract, used in chosen.values()}

    def encode(each: tuple[str, tuple[str, ...]]) -> NDArray[np.float32]:
        contract, used = distinct[each], each[1]
        parts = {modality: query.raw[modality] for modality in used}
        item = parts if contract.modality == "fused" else parts[contract.modality]
        return _encode(encoder_for(contract), contract, item)

    vectors = [encode(each) for each in distinct] if len(distinct) == 1 else list(pool.map(encode, distinct))
    made = dict(zip(distinct, vectors, strict=True))
    return {space: made[contract.hash, used] for space, (contract, used) in chosen.items()}


def choose_input(space: EmbeddingSpace, raw: dict[str, Any]) -> tuple[EncoderContract, tuple[str, ...]]:
    """The contract by which `space` is queried, its own first, and the modalities of `raw` that it is given.

    A fused space is queried by its own encoder with every modality that is both given and among its inputs.

    Raises:
        QueryError: none of the given modalities can query the space; names what can.
    """
    together = tuple(modality for modality, _ in space.parts if modality in raw)
    if space.contract.modality == "fused" and together:
        return space.contract, together
    for contract in space.queries:
        if contract.modality in raw and contract.pooling != "external":
            require_shared_space(space.contract, contract, where=f"space {space.name}")
            return contract, (contract.modality,)
    able: set[str] = {c.modality for c in space.queries if c.pooling != "external" and c.modality != "fused"}
    able |= {modality for modality, _ in space.parts} if space.contract.modality == "fused" else set()
    ways = " or ".join([*(f"{ARGUMENTS.get(each, each)}=" for each in sorted(able)), "vector=", "item_id="])
    given = " or ".join(ARGUMENTS.get(modality, modality) for modality in raw)
    raise QueryError(f"space {space.name} cannot be queried by {given}; use {ways}")


def _encode(encoder: Encoder, contract: EncoderContract, item: Any) -> NDArray[np.float32]:
    try:
        vector = encoder.encode([item], "query")[0]
    except InvalidInputError as error:
        what = "the query" if contract.modality == "fused" else ARGUMENTS.get(contract.modality, contract.modality)
        raise QueryError(f"{what} cannot be encoded: {error.reason}") from error
    return _checked(vector, contract)


def _ready_vector(vector: NDArray[np.float32], spaces: Sequence[EmbeddingSpace]) -> dict[str, NDArray[np.float32]]:
    first = spaces[0].contract
    for space in spaces:
        if space.contract is not first:
            require_shared_space(first, space.contract, where="one vector= for several spaces")
        if vector.shape != (space.contract.dimension,):
            raise QueryError(
                f"vector has {vector.shape[0]} numbers; space {space.name} holds vectors of {space.contract.dimension}"
            )
    if first.metric == "COSINE":
        if not vector.any():
            raise QueryError("vector is all zeros, which has no direction to compare by cosine")
        norm = float(np.dot(vector.astype(np.float64), vector))
        if not float(np.finfo(np.float32).tiny) <= norm <= float(np.finfo(np.float32).max):
            raise QueryError("vector is too short or too long to be compared by cosine; scale it")
    return {space.name: vector for space in spaces}


def _checked(vector: NDArray[np.float32], contract: EncoderContract) -> NDArray[np.float32]:
    if vector.shape != (contract.dimension,) or not np.isfinite(vector).all():
        raise QueryError(f"encoder {contract.label} gave no usable vector for the query")
    return vector
