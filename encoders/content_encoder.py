"""Which encoder made the content vectors that a folder was trained on: kept in its record, compared with what it meets.

A record without the field is older than it; one with null says that the vectors came as they were, in a column, and
nobody knows whose they are. Neither is compared with anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from encoders.contract import EncoderContract, require_shared_space

CONTENT_ENCODER = "content_encoder"


def encoder_record(encoder: EncoderContract | None) -> dict[str, Any]:
    """The field of a record; null where the encoder is not known."""
    return {CONTENT_ENCODER: None if encoder is None else json.loads(encoder.to_json())}


def recorded_encoder(record: Mapping[str, Any]) -> EncoderContract | None:
    """The contract in a record, None where it holds none.

    Raises:
        EncoderLoadError: something else is there.
    """
    found = record.get(CONTENT_ENCODER)
    return None if found is None else EncoderContract.from_dict(found)


def require_same_content(trained: EncoderContract | None, given: EncoderContract | None, where: str) -> None:
    """Check that content vectors to be used lie in the space of those trained on, as far as both are known.

    Raises:
        ContractMismatchError: they do not; names both.
    """
    if trained is not None and given is not None:
        require_shared_space(trained, given, where)
