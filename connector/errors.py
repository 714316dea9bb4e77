"""Every error the connector raises, as one tree.

ConnectorError
├─ ConfigurationError (ValueError)        settings, feature_store.yaml, a repository that does not fit together
├─ UnknownSpaceError (LookupError)        a space, view or encoder that the registry does not hold
├─ FilterError (ValueError)               a filter that does not parse or names an undeclared field
├─ QueryError (ValueError)                a search that makes no sense as asked
├─ CatalogueError (ValueError)            a catalogue that cannot be read at all
├─ StrictIngestError (ValueError)         bad rows under --strict
├─ StoreError (RuntimeError)
│  ├─ StoreUnavailableError (ConnectionError)
│  ├─ MissingCollectionError (LookupError) a collection or alias that is not there
│  ├─ BadRowsError (ValueError)           rows a store cannot hold, by position
│  └─ SchemaMismatchError (ValueError)    a collection that does not have the shape its view declares
├─ ServingError (RuntimeError)
│  └─ ServerUnavailableError (ConnectionError)
├─ PromotionError (RuntimeError)          a candidate that does not pass the gate
├─ TrainingError (RuntimeError)
└─ EncoderError
   ├─ EncoderLoadError (ValueError)
   ├─ InvalidInputError (ValueError)
   └─ ContractMismatchError (ValueError)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from encoders.errors import (
    ConnectorError,
    ContractMismatchError,
    EncoderError,
    EncoderLoadError,
    InvalidInputError,
)

if TYPE_CHECKING:
    from connector.versions.gate import GateReport

__all__ = [
    "BadRowsError",
    "CatalogueError",
    "ConfigurationError",
    "ConnectorError",
    "ContractMismatchError",
    "EncoderError",
    "EncoderLoadError",
    "FilterError",
    "InvalidInputError",
    "MissingCollectionError",
    "PromotionError",
    "QueryError",
    "SchemaMismatchError",
    "ServerUnavailableError",
    "ServingError",
    "StoreError",
    "StoreUnavailableError",
    "StrictIngestError",
    "TrainingError",
    "UnknownSpaceError",
]


class ConfigurationError(ConnectorError, ValueError):
    """Settings or a feature repository that cannot be used as they stand."""


class UnknownSpaceError(ConnectorError, LookupError):
    """A space, view or encoder that the Feast registry does not hold."""


class FilterError(ConnectorError, ValueError):
    """A filter that does not parse, or that names a field the space does not declare."""


class QueryError(ConnectorError, ValueError):
    """A search that makes no sense as asked: no query, two of them, a weight below zero, k out of range."""


class CatalogueError(ConnectorError, ValueError):
    """A catalogue that cannot be read at all: missing file, unknown format, no key column."""


class StrictIngestError(ConnectorError, ValueError):
    """Rows that would have become dead letters, in a run that was asked to be strict."""


class StoreError(ConnectorError, RuntimeError):
    """A store refused or failed a call."""


class StoreUnavailableError(StoreError, ConnectionError):
    """A store that cannot be reached."""


class MissingCollectionError(StoreError, LookupError):
    """A collection or alias that the store does not have."""


class BadRowsError(StoreError, ValueError):
    """Rows a store cannot hold (null key, over-long text, NaN vector); raised before anything is written.

    Args:
        message: the first of them, in one line.
        rows: position in the table → reason, of every one.
    """

    def __init__(self, message: str, rows: dict[int, str]) -> None:
        self.rows = rows
        super().__init__(message)


class SchemaMismatchError(StoreError, ValueError):
    """A collection that does not have the shape, metric or contract its view declares."""


class ServingError(ConnectorError, RuntimeError):
    """The inference server refused or failed a call."""


class ServerUnavailableError(ServingError, ConnectionError):
    """An inference server that cannot be reached, or a model that is not ready."""


class PromotionError(ConnectorError, RuntimeError):
    """A version that may not serve; nothing was moved.

    Args:
        report: what it was held to, a `connector.versions.GateReport`.
    """

    def __init__(self, message: str, report: GateReport) -> None:
        self.report = report
        super().__init__(message)


class TrainingError(ConnectorError, RuntimeError):
    """A training job that cannot start or go on."""
