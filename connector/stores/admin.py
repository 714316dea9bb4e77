"""Collections and aliases of one Milvus database: made, described, moved and dropped."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.errors import SchemaMismatchError, StoreError
from connector.stores.base import CollectionSpec
from connector.stores.connection import MilvusEndpoint, translated
from connector.stores.layout import RECORD, STAMP, index_settings, milvus_index, milvus_properties, milvus_schema
from connector.stores.shapes import misfit
from connector.stores.specs import spec_from_json

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from connector.stores.filters import Filter

MILVUS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)


@dataclass(frozen=True)
class Known:
    """A collection as it was last described.

    Attributes:
        asked: the name it was asked by, a collection's or an alias's.
        target: that name in Milvus, prefix and all.
        physical: the collection's own name in Milvus.
        spec: its spec, under the collection's own name.
        record: the text that was kept with it.
        identity: a number of its own on a server, another one when it is made anew; Milvus Lite has none.
        expressions: Milvus expressions of filters that were asked here before, by the filter's `id`, with the filter.
    """

    asked: str
    target: str
    physical: str
    spec: CollectionSpec
    record: str = ""
    identity: str = ""
    expressions: dict[int, tuple[Filter, str]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The collection's own name."""
        return self.spec.name

    @property
    def by_alias(self) -> bool:
        """Whether it was asked by an alias, which may move."""
        return self.target != self.physical


class Admin:
    """What one client knows of its collections; descriptions are kept until refreshed."""

    def __init__(self, client: MilvusClient, endpoint: MilvusEndpoint) -> None:
        self._client = client
        self._endpoint = endpoint
        self._timeout = endpoint.timeout_s
        self._lock = threading.RLock()
        self._described: dict[str, Known] = {}

    def create(self, spec: CollectionSpec, record: str) -> bool:
        """Create, index and load; finish what a killed process left half made → whether it was made now."""
        from pymilvus import MilvusClient as Client

        physical = self._physical(spec.name)
        known = self.find(spec.name, refresh=True)
        if known is not None:
            _require_same(known, spec)
            with translated(f"create {spec.name}"):
                self._make_ready(physical, spec)
            return False
        with translated(f"create {spec.name}"):
            self._client.create_collection(
                physical,
                schema=milvus_schema(Client, spec),
                index_params=milvus_index(Client, spec),
                properties=milvus_properties(spec, record),
                consistency_level=self._endpoint.consistency,
                timeout=self._timeout,
            )
        return True

    def find(self, name: str, *, refresh: bool = False) -> Known | None:
        """The collection of that name or alias, or None.

        Raises:
            SchemaMismatchError: a collection that the connector did not make.
        """
        known = None if refresh else self._described.get(name)
        if known is not None:
            return known
        with self._lock:
            self._described.pop(name, None)
            target = self._physical(name)
            with translated(f"describe {name}"):
                if not self._client.has_collection(target, timeout=self._timeout):
                    return None
                found = self._client.describe_collection(target, timeout=self._timeout)
            properties = found.get("properties") or {}
            spec = spec_from_json(properties.get(STAMP, ""))
            if spec is None:
                raise SchemaMismatchError(
                    f"collection {target} in Milvus was not made by the connector, or by an earlier one; drop it, or "
                    "set online_store.collection_prefix or db_name to keep apart"
                )
            known = Known(
                name,
                target,
                str(found["collection_name"]),
                spec,
                properties.get(RECORD, ""),
                str(found.get("collection_id", "")),
            )
            with translated(f"load {name}"):
                self._make_ready(known.physical, spec)
            self._described[name] = known
            return known

    def drop(self, name: str) -> None:
        """Drop a collection and its aliases; 2.3 would keep the aliases' names taken."""
        physical = self._physical(name)
        with self._lock, translated(f"drop {name}"):
            self._described.clear()
            if not self._client.has_collection(physical, timeout=self._timeout):
                return
            found = self._client.describe_collection(physical, timeout=self._timeout)
            if found["collection_name"] != physical:
                raise StoreError(f"{name} is an alias of {found['collection_name']}; drop the collection by its name")
            for alias in self._client.list_aliases(physical, timeout=self._timeout)["aliases"]:
                self._client.drop_alias(alias, timeout=self._timeout)
            self._client.drop_collection(physical, timeout=self._timeout)

    def names(self) -> list[str]:
        """Names of all collections under the prefix, sorted."""
        prefix = self._endpoint.prefix
        with translated("list collections"):
            found = self._client.list_collections(timeout=self._timeout)
        return sorted(name.removeprefix(prefix) for name in found if name.startswith(prefix))

    def set_alias(self, alias: str, collection: str) -> None:
        """Point an alias at a collection, in one step where it exists already."""
        target, physical = self._physical(alias), self._physical(collection)
        with self._lock, translated(f"alias {alias}"):
            self._described.pop(alias, None)
            if not self._client.has_collection(physical, timeout=self._timeout):
                raise StoreError(f"alias {alias}: there is no collection {collection}")
            current = self.resolve_alias(alias)
            if current is None:
                self._client.create_alias(physical, target, timeout=self._timeout)
            elif current != collection:
                self._client.alter_alias(physical, target, timeout=self._timeout)

    def resolve_alias(self, alias: str) -> str | None:
        """Collection of an alias, or None where there is no such alias."""
        target = self._physical(alias)
        with translated(f"alias {alias}"):
            if not self._client.has_collection(target, timeout=self._timeout):
                return None
            found = str(self._client.describe_collection(target, timeout=self._timeout)["collection_name"])
        return None if found == target else found.removeprefix(self._endpoint.prefix)

    def _make_ready(self, physical: str, spec: CollectionSpec) -> None:
        from pymilvus import MilvusClient as Client
        from pymilvus.client.types import LoadState

        lacking = [
            column
            for column in index_settings(spec)
            if not self._client.list_indexes(physical, column, timeout=self._timeout)
        ]
        if lacking:
            self._client.create_index(physical, milvus_index(Client, spec, lacking), timeout=self._timeout)
        state: Any = self._client.get_load_state(physical, timeout=self._timeout)["state"]
        if state != LoadState.Loaded:
            self._client.load_collection(physical, timeout=self._timeout)

    def _physical(self, name: str) -> str:
        physical = self._endpoint.prefix + name
        if not MILVUS_NAME.fullmatch(physical):
            raise StoreError(
                f"collection name {physical!r}: Milvus takes letters, digits and underscores, at most 255, "
                "and no digit first; rename the feature view"
            )
        return physical


def _require_same(known: Known, spec: CollectionSpec) -> None:
    if known.by_alias:
        raise SchemaMismatchError(f"collection {spec.name}: the name is an alias of {known.name}")
    found = misfit(known.spec, spec)
    if found:
        raise SchemaMismatchError(found)
