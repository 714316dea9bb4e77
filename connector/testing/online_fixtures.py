"""Feature views that the tests of the online-store suite share, and short ways to write and read them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

if TYPE_CHECKING:
    from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig
    from feast.infra.online_stores.online_store import OnlineStore

NOW = datetime.now(timezone.utc).replace(microsecond=0)
"""Event time of most rows: close enough to the clock that a time to live of hours holds."""

Key = Mapping[str, Any]
Row = tuple[Key, Mapping[str, Any], datetime, "datetime | None"]


@dataclass(frozen=True)
class Applied:
    """A view that is applied, with its store.

    Attributes:
        entities: of its keys, in the order of the view.
    """

    feast: FeatureStore
    view: FeatureView
    entities: tuple[Entity, ...]

    @property
    def store(self) -> OnlineStore:
        """The online store that Feast itself uses."""
        return self.feast._get_provider().online_store

    @property
    def config(self) -> RepoConfig:
        """As every call of the store takes it."""
        return self.feast.config

    @property
    def names(self) -> list[str]:
        """Names of its features."""
        return [field.name for field in self.view.features]

    def key(self, values: Key) -> Any:
        """Join key → value, as Feast's entity key."""
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey

        kinds = {entity.join_key: entity.value_type for entity in self.entities}
        return EntityKey(
            join_keys=list(values), entity_values=[proto(kinds[name], value) for name, value in values.items()]
        )

    def rows(self, rows: Sequence[Row]) -> list[Any]:
        """Python values as what `online_write_batch` takes."""
        kinds = {field.name: field.dtype.to_value_type() for field in self.view.features}
        return [
            (self.key(key), {name: proto(kinds[name], value) for name, value in values.items()}, event, created)
            for key, values, event, created in rows
        ]

    def write(self, *rows: Row) -> None:
        """Write rows of Python values in one batch."""
        self.store.online_write_batch(self.config, self.view, self.rows(rows), None)

    def read(self, keys: Sequence[Key], names: list[str] | None = None) -> list[dict[str, Any] | None]:
        """Features of each key as Python values; None where the key is absent."""
        answer = self.store.online_read(self.config, self.view, [self.key(key) for key in keys], names)
        assert len(answer) == len(keys)
        return [None if row is None else {name: python(value) for name, value in row.items()} for _, row in answer]


Make = Callable[..., Applied]


def proto(kind: Any, value: Any) -> Any:
    """A Python value, or a ready one, as Feast's protobuf value of a type; None is null."""
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import python_values_to_proto_values

    if value is None or isinstance(value, Value):
        return value or Value()
    return python_values_to_proto_values([value], kind)[0]


def python(value: Any) -> Any:
    """A protobuf value as Feast's answers give it."""
    from feast.type_map import feast_value_type_to_python_type

    return feast_value_type_to_python_type(value)


def utc(time: datetime | None) -> datetime | None:
    """A store's event time; without a zone it is UTC."""
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=timezone.utc)


class OnlineFixtures:
    """A subclass gives the `config` fixture, of class scope.

    Attributes:
        gaps: name of a test → why the store does not pass it (`notimpl: …`, `notyet: …`, `never: …`); such a test must
            fail.
    """

    gaps: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls) -> Iterator[RepoConfig]:
        """Of a feature repository without any views, whose online store is the one under test."""
        raise NotImplementedError("give a class-scoped fixture `config`")

    @pytest.fixture(autouse=True)
    def known_gaps(self, request: pytest.FixtureRequest) -> None:
        """Tests that this store is known to fail."""
        function = getattr(request.node, "originalname", "") or request.node.name
        reason = self.gaps.get(request.node.name) or self.gaps.get(function)
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture(scope="class")
    @classmethod
    def feast(cls, config: RepoConfig) -> Iterator[FeatureStore]:
        """The repository; torn down at the end."""
        from feast import FeatureStore

        store = FeatureStore(config=config)
        yield store
        store.teardown()
        asyncio.run(store._get_provider().online_store.close())

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, feast: FeatureStore) -> Make:
        """Applies a view of its own for a test: `make(fields)`, `make(fields, entities=, ttl=, tags=, name=)`."""
        numbers = itertools.count(1)

        def apply(fields: Sequence[Field], **settings: Any) -> Applied:
            applied = declare(feast, f"suite_{next(numbers)}", fields, **settings)
            feast.apply([*applied.entities, applied.view])
            return applied

        return apply

    @pytest.fixture(scope="class")
    @classmethod
    def notes(cls, make: Make) -> Applied:
        """A view that tests write keys of their own into."""
        from feast import Field
        from feast.types import Float32, Int64, String

        fields = (("text", String), ("count", Int64), ("share", Float32), ("note", String))
        return make([Field(name=name, dtype=kind) for name, kind in fields])


def declare(
    feast: FeatureStore,
    name: str,
    fields: Sequence[Field],
    *,
    entities: Sequence[Entity] | None = None,
    ttl: timedelta | None = None,
    tags: dict[str, str] | None = None,
) -> Applied:
    """A view that is not applied yet; its key is a string `item_id` unless entities are given."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import from_value_type

    chosen = tuple(entities or (Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING),))
    keys = [Field(name=entity.join_key, dtype=from_value_type(entity.value_type)) for entity in chosen]
    view = FeatureView(
        name=name,
        entities=list(chosen),
        schema=[*keys, *fields],
        ttl=timedelta(0) if ttl is None else ttl,
        tags=tags or {},
        source=FileSource(name=f"{name}_file", path=f"data/{name}.parquet", timestamp_field="event_timestamp"),
    )
    return Applied(feast, view, chosen)


def item(number: int | str) -> Key:
    """Key of one item."""
    return {"item_id": f"i{number}" if isinstance(number, int) else number}
