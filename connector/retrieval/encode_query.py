"""Query → one vector for each space, made by an encoder whose contract shares that space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.errors import InvalidInputError, QueryError
from connector.retrieval.query import Query
from connector.spaces import EmbeddingSpace
from encoders.base import Encoder
from encoders.contract import EncoderContract, require_shared_space

EncoderFor = Callable[[EncoderContract], Encoder]


def encode_query(
    query: Query, spaces: Sequence[EmbeddingSpace], encoder_for: EncoderFor, pool: Executor
) -> dict[str, NDArray[np.float32]]:
    """Vectors of a text, image or vector query, by space: float32 [dimension] each.

    Each space takes the query of its own modality where that is given, else the one it can be queried by. Spaces that
    are queried by one contract share one encoding.

    Raises:
        QueryError: a space that none of the given modalities can query, a modality that no space uses, or a vector of
            another length.
        ContractMismatchError: one vector for spaces that do not share a space.
    """
    if query.vector is not None:
        return _ready_vector(query.vector, spaces)
    chosen = {space.name: choose_contract(space, query.raw) for space in spaces}
    unused = set(query.raw) - {contract.modality for contract in chosen.values()}
    if unused:
        kind = sorted(unused)[0]
        raise QueryError(
            f"{kind}= would be left unused: {', '.join(chosen)} "
            f"{'takes' if len(chosen) == 1 else 'take'} the other input; add a {kind} space, or leave {kind}= out"
        )
    distinct = list({contract.hash: contract for contract in chosen.values()}.values())

    def encode(contract: EncoderContract) -> NDArray[np.float32]:
        return _encode(encoder_for(contract), contract, query.raw[contract.modality])

    vectors = [encode(distinct[0])] if len(distinct) == 1 else list(pool.map(encode, distinct))
    made = {contract.hash: vector for contract, vector in zip(distinct, vectors, strict=True)}
    return {space: made[contract.hash] for space, contract in chosen.items()}


def choose_contract(space: EmbeddingSpace, raw: dict[str, Any]) -> EncoderContract:
    """The contract by which `space` is queried, its own first.

    Raises:
        QueryError: none of the given modalities can query the space; names what can.
    """
    for contract in space.queries:
        if contract.modality in raw and contract.pooling != "external":
            require_shared_space(space.contract, contract, where=f"space {space.name}")
            return contract
    able = sorted({c.modality for c in space.queries if c.pooling != "external"})
    ways = " or ".join([*(f"{modality}=" for modality in able), "vector=", "item_id="])
    raise QueryError(f"space {space.name} cannot be queried by {' or '.join(raw)}; use {ways}")


def _encode(encoder: Encoder, contract: EncoderContract, item: str | bytes) -> NDArray[np.float32]:
    try:
        vector = encoder.encode([item], "query")[0]
    except InvalidInputError as error:
        raise QueryError(f"{contract.modality} cannot be encoded: {error.reason}") from error
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
    if first.metric == "COSINE" and not vector.any():
        raise QueryError("vector is all zeros, which has no direction to compare by cosine")
    return {space.name: vector for space in spaces}


def _checked(vector: NDArray[np.float32], contract: EncoderContract) -> NDArray[np.float32]:
    if vector.shape != (contract.dimension,) or not np.isfinite(vector).all():
        raise QueryError(f"encoder {contract.label} gave no usable vector for the query")
    return vector
