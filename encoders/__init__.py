"""Everything that is a model: contracts, encoders, decoding, export. Knows neither Feast, Milvus nor `connector`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoders.base import Encoder, EncodeResult, Side
    from encoders.contract import EncoderContract, external_contract, find_aligned, require_shared_space
    from encoders.defaults import default_contract
    from encoders.errors import (
        ConnectorError,
        ContractMismatchError,
        EncoderError,
        EncoderLoadError,
        InvalidInputError,
    )
    from encoders.exporting import export
    from encoders.folder import EncoderFolder
    from encoders.int8 import Int8Loss, export_int8
    from encoders.loading import load
    from encoders.registry import register
    from encoders.runtime import Runtime

__all__ = [
    "ConnectorError",
    "ContractMismatchError",
    "EncodeResult",
    "Encoder",
    "EncoderContract",
    "EncoderError",
    "EncoderFolder",
    "EncoderLoadError",
    "Int8Loss",
    "InvalidInputError",
    "Runtime",
    "Side",
    "default_contract",
    "export",
    "export_int8",
    "external_contract",
    "find_aligned",
    "load",
    "register",
    "require_shared_space",
]

_HOMES = {
    "ConnectorError": "errors",
    "ContractMismatchError": "errors",
    "EncodeResult": "base",
    "Encoder": "base",
    "EncoderContract": "contract",
    "EncoderError": "errors",
    "EncoderFolder": "folder",
    "EncoderLoadError": "errors",
    "Int8Loss": "int8",
    "InvalidInputError": "errors",
    "Runtime": "runtime",
    "Side": "base",
    "default_contract": "defaults",
    "export": "exporting",
    "export_int8": "int8",
    "external_contract": "contract",
    "find_aligned": "contract",
    "load": "loading",
    "register": "registry",
    "require_shared_space": "contract",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'encoders' has no attribute {name!r}")
    value = getattr(import_module(f"encoders.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
