"""What a Milvus can do, told from the version it gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from connector.errors import ConfigurationError
from connector.stores.base import CollectionSpec
from connector.stores.layout import column_count, most_fields

KEYWORDS_FROM = (2, 5)
PATTERNS_FROM = (2, 4)
PARTITION_KEYS_FROM = (2, 4)
"""2.3 takes them, but upserts rows into partitions that it does not look into (milvus-io/milvus issue 30607)."""


@dataclass(frozen=True)
class Capabilities:
    """What the server can do, of what servers differ in.

    Attributes:
        server: its name and version, for messages: `Milvus 2.3.5`, `Milvus Lite 3.2.2`.
        keywords: keyword search (BM25), from 2.5 on.
        patterns: LIKE with `%` at the start, from 2.4 on; LIKE 'text%' works everywhere.
        partition_keys: a field that chooses a row's partition, from 2.4 on.
        columns: that a collection can have; None for any number.
    """

    server: str
    keywords: bool
    patterns: bool
    partition_keys: bool
    columns: int | None = None

    @property
    def keywords_need(self) -> str:
        """In words: what keyword search needs, and what there is."""
        return f"keyword search needs Milvus 2.5 or later, or Milvus Lite; {self.server} answers"


def capabilities_of(version: str, columns: int) -> Capabilities:
    """From what the server says of itself: `v2.3.5-lite`, `2.6.1`, `milvus_lite-3.2.2`.

    A server that gives no number (a build from source, a service) counts as one of today.

    Args:
        columns: that a server takes in a collection; Milvus Lite takes any number.
    """
    numbers = re.search(r"(\d+)\.(\d+)(?:\.\d+)?", version)
    shown = numbers[0] if numbers else version
    if version.startswith("milvus_lite"):
        return Capabilities(f"Milvus Lite {shown}", keywords=True, patterns=True, partition_keys=True)
    release = (int(numbers[1]), int(numbers[2])) if numbers else (99, 0)
    return Capabilities(
        f"Milvus {shown}",
        keywords=release >= KEYWORDS_FROM,
        patterns=release >= PATTERNS_FROM,
        partition_keys=release >= PARTITION_KEYS_FROM,
        columns=columns,
    )


def within(spec: CollectionSpec, can: Capabilities) -> tuple[CollectionSpec, list[str]]:
    """The spec as this server can carry it, and a line for each part that it cannot.

    Raises:
        ConfigurationError: more columns than the server takes.
    """
    lines = []
    if spec.keyword_fields and not can.keywords:
        fields = ", ".join(spec.keyword_fields)
        lines.append(f"collection {spec.name} is made without keyword search over {fields}: {can.keywords_need}")
        spec = replace(spec, keyword_fields=())
    if spec.partition_key and not can.partition_keys:
        lines.append(
            f"collection {spec.name} is made without partition key {spec.partition_key}: "
            f"it needs Milvus 2.4 or later, or Milvus Lite; {can.server} answers"
        )
        spec = replace(spec, partition_key="")
    count = column_count(spec)
    if can.columns is not None and count > can.columns:
        raise ConfigurationError(
            f"collection {spec.name}: {len(spec.fields)} fields need {count} columns and {can.server} takes "
            f"{can.columns}, enough for {most_fields(spec, can.columns)} fields; split the view, put fields in "
            "one of type Map or Json, or raise the server's proxy.maxFieldNum and online_store.max_columns"
        )
    return spec, lines
