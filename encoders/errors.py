"""The root of the exception tree and its encoder branch.

The tree is drawn whole at the top of `connector.errors`; the root lives here because `encoders` is also installed
beside Triton, where `connector` is not.
"""

from __future__ import annotations


class ConnectorError(Exception):
    """Root of every error this project raises."""


class EncoderError(ConnectorError):
    """Something about an encoder: its folder, its weights, its contract, or an input."""


class EncoderLoadError(EncoderError, ValueError):
    """An encoder name, id or folder that cannot be loaded."""


class InvalidInputError(EncoderError, ValueError):
    """One input that cannot be encoded (wrong type, undecodable, over a limit).

    Args:
        reason: what is wrong, in one line.
        index: position of the input in its batch, when known.
    """

    def __init__(self, reason: str, index: int | None = None) -> None:
        self.reason = reason
        self.index = index
        super().__init__(reason if index is None else f"input {index}: {reason}")


class ContractMismatchError(EncoderError, ValueError):
    """Vectors of two encoder contracts that do not share a space were about to be combined."""
