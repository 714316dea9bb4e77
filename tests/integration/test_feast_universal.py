"""What Feast's universal online-store tests ask of a store, on a repository of rides: views of one, two and no
entities, a view of one entity under two names, on-demand views, services, time to live, event times, clean-up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.errors import FeatureNameCollisionError, RequestDataNotFoundInEntityRowsException
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float32, Float64, Int32, Int64, String

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning")

NOW = datetime.now(timezone.utc).replace(microsecond=0)
HOUR = timedelta(hours=1)
DRIVERS, CUSTOMERS, LOCATIONS = [5009, 5001, 5042, 5003], [1010, 1002, 1007], [3, 1, 2]

DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
LOCATION = Entity(name="location", join_keys=["location_id"], value_type=ValueType.INT64)
TRAVELS = Field(name="val_to_add", dtype=Int32)


def times(count: int, *, hours: int = 1) -> dict[str, Any]:
    return {"event_timestamp": [NOW - hours * HOUR] * count, "created": [NOW] * count}


def frames() -> dict[str, pd.DataFrame]:
    """A row for each key an hour old, and older rows that must lose."""
    driver = {"driver_id": DRIVERS, "conv_rate": [0.25, 0.5, 0.75, 1.0], "avg_daily_trips": [1, 2, 3, 4]}
    older = {"driver_id": DRIVERS, "conv_rate": [9.0] * 4, "avg_daily_trips": [9] * 4}
    orders = [(driver, customer) for driver in DRIVERS for customer in CUSTOMERS]
    return {
        "driver": pd.concat([pd.DataFrame({**driver, **times(4)}), pd.DataFrame({**older, **times(4, hours=9)})]),
        "customer": pd.DataFrame({"customer_id": CUSTOMERS, "balance": [1.5, 2.5, -3.5], **times(3)}),
        "order": pd.DataFrame(
            {
                "driver_id": [driver for driver, _ in orders],
                "customer_id": [customer for _, customer in orders],
                "order_is_success": [(driver + customer) % 2 == 0 for driver, customer in orders],
                **times(len(orders)),
            }
        ),
        "location": pd.DataFrame({"location_id": LOCATIONS, "temperature": [30, 10, 20], **times(3)}),
        "global": pd.DataFrame({"num_rides": [77], "avg_ride_length": [2.5], **times(1)}),
    }


@pytest.fixture(scope="module")
def rides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """Everything applied, and materialised from Parquet files."""
    path: Path = tmp_path_factory.mktemp("rides")
    store = FeatureStore(
        config=RepoConfig(
            project="rides",
            provider="local",
            registry=str(path / "registry.db"),
            online_store={"type": "connector.stores.online.MilvusOnlineStore", "uri": "milvus.db"},
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
            repo_path=path,
        )
    )
    sources = {}
    for name, frame in frames().items():
        frame.to_parquet(path / f"{name}.parquet", index=False)
        sources[name] = FileSource(
            name=name,
            path=str(path / f"{name}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        )
    driver, location, *rest = views(sources)
    plus = conversion_plus(driver)
    services = [
        FeatureService(name="conversion", features=[driver[["conv_rate"]], plus]),
        FeatureService(
            name="trip",
            features=[
                location.with_name(end).with_join_key_map({"location_id": f"{end}_id"})
                for end in ("origin", "destination")
            ],
        ),
    ]
    store.apply([DRIVER, CUSTOMER, LOCATION, driver, location, *rest, plus, *services])
    store.materialize(NOW - timedelta(days=3), NOW)
    yield store
    store.teardown()
    asyncio.run(store._get_provider().online_store.close())


def views(sources: dict[str, FileSource]) -> list[FeatureView]:
    def view(name: str, entities: list[Entity], source: str, fields: dict[str, Any], **settings: Any) -> FeatureView:
        keys = [Field(name=entity.join_key, dtype=Int64) for entity in entities]
        schema = [*keys, *(Field(name=name, dtype=kind) for name, kind in fields.items())]
        return FeatureView(name=name, entities=entities, schema=schema, source=sources[source], **settings)

    return [
        view("driver_stats", [DRIVER], "driver", {"conv_rate": Float32, "avg_daily_trips": Int32}),
        view("location_stats", [LOCATION], "location", {"temperature": Int32}),
        view("customer_profile", [CUSTOMER], "customer", {"balance": Float64}),
        view("order", [DRIVER, CUSTOMER], "order", {"order_is_success": Bool}),
        view("global_stats", [], "global", {"num_rides": Int32, "avg_ride_length": Float32}),
    ]


def conversion_plus(driver: FeatureView) -> Any:
    @on_demand_feature_view(
        sources=[driver[["conv_rate"]], RequestSource(name="added", schema=[TRAVELS])],
        schema=[Field(name="plus_100", dtype=Float64), Field(name="plus_val", dtype=Float64)],
        mode="pandas",
    )
    def conv_rate_plus(inputs: pd.DataFrame) -> pd.DataFrame:
        rates = inputs["conv_rate"].astype(float)
        return pd.DataFrame({"plus_100": rates + 100, "plus_val": rates + inputs["val_to_add"]})

    return conv_rate_plus


REFS = [
    "driver_stats:conv_rate",
    "driver_stats:avg_daily_trips",
    "customer_profile:balance",
    "order:order_is_success",
    "global_stats:num_rides",
    "global_stats:avg_ride_length",
    "conv_rate_plus:plus_100",
    "conv_rate_plus:plus_val",
]
ROWS = [
    {"driver_id": driver, "customer_id": customer, "val_to_add": 50}
    for driver, customer in ((5042, 1007), (5001, 1010), (5009, 1007))
]


@pytest.mark.parametrize("full", [True, False])
def test_online_retrieval(rides: FeatureStore, full: bool) -> None:
    found = rides.get_online_features(features=REFS, entity_rows=ROWS, full_feature_names=full).to_dict()
    rates, trips = [0.75, 0.5, 0.25], [3, 2, 1]
    wanted = {
        "driver_stats:conv_rate": rates,
        "driver_stats:avg_daily_trips": trips,
        "customer_profile:balance": [-3.5, 1.5, -3.5],
        "order:order_is_success": [False, False, True],
        "global_stats:num_rides": [77] * 3,
        "global_stats:avg_ride_length": [2.5] * 3,
        "conv_rate_plus:plus_100": [rate + 100 for rate in rates],
        "conv_rate_plus:plus_val": [rate + 50 for rate in rates],
    }
    named = {ref.replace(":", "__") if full else ref.split(":")[1]: values for ref, values in wanted.items()}
    keys = {"driver_id": [5042, 5001, 5009], "customer_id": [1007, 1010, 1007]}
    assert found == {**named, **keys}


def test_on_demand_features_without_what_they_are_made_of(rides: FeatureStore) -> None:
    found = rides.get_online_features(
        features=["conv_rate_plus:plus_val"], entity_rows=[{"driver_id": 5003, "val_to_add": 1}]
    ).to_dict()
    assert found == {"driver_id": [5003], "plus_val": [2.0]}


def test_missing_keys_and_missing_request_data(rides: FeatureStore) -> None:
    row = {"driver_id": 0, "customer_id": 0, "val_to_add": 1}
    found = rides.get_online_features(features=REFS, entity_rows=[row]).to_dict()
    assert [found[name] for name in ("conv_rate", "avg_daily_trips", "balance", "order_is_success")] == [[None]] * 4
    assert found["num_rides"] == [77]
    with pytest.raises(RequestDataNotFoundInEntityRowsException):
        rides.get_online_features(features=REFS, entity_rows=[{"driver_id": 0, "customer_id": 0}])


def test_feature_services(rides: FeatureStore) -> None:
    service = rides.get_feature_service("conversion")
    found = rides.get_online_features(features=service, entity_rows=[{"driver_id": 5001, "val_to_add": 3}]).to_dict()
    assert found == {"driver_id": [5001], "conv_rate": [0.5], "plus_100": [100.5], "plus_val": [3.5]}


def test_one_view_under_two_names(rides: FeatureStore) -> None:
    service = rides.get_feature_service("trip")
    rows = [{"origin_id": 1, "destination_id": 3}, {"origin_id": 3, "destination_id": 2}]
    found = rides.get_online_features(features=service, entity_rows=rows, full_feature_names=True).to_dict()
    assert found["origin__temperature"] == [10, 30]
    assert found["destination__temperature"] == [30, 20]
    with pytest.raises(FeatureNameCollisionError):
        rides.get_online_features(features=service, entity_rows=rows)


def test_event_times_and_statuses(rides: FeatureStore) -> None:
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    rows = [{"driver_id": 5001}, {"driver_id": 1}]
    answer = rides.get_online_features(features=["driver_stats:conv_rate"], entity_rows=rows)
    feature = answer.proto.results[list(answer.proto.metadata.feature_names.val).index("conv_rate")]
    assert list(feature.statuses) == [FieldStatus.PRESENT, FieldStatus.NOT_FOUND]
    assert [time.seconds for time in feature.event_timestamps] == [int((NOW - HOUR).timestamp()), 0]


def test_asynchronous_retrieval_gives_the_same(rides: FeatureStore) -> None:
    async def ask() -> dict[str, list[Any]]:
        answer = await rides.get_online_features_async(features=REFS, entity_rows=ROWS)
        found: dict[str, list[Any]] = answer.to_dict()
        return found

    assert asyncio.run(ask()) == rides.get_online_features(features=REFS, entity_rows=ROWS).to_dict()


def test_write_and_time_to_live(rides: FeatureStore) -> None:
    source = FileSource(name="short_file", path="absent.parquet", timestamp_field="event_timestamp")
    short = FeatureView(
        name="short",
        entities=[DRIVER],
        schema=[Field(name="driver_id", dtype=Int64), Field(name="text", dtype=String)],
        source=source,
        ttl=5 * HOUR,
    )
    rides.apply([DRIVER, short])

    def write(drivers: list[int], texts: list[str], age: timedelta) -> None:
        frame = pd.DataFrame({"driver_id": drivers, "text": texts, "event_timestamp": [NOW - age] * len(drivers)})
        rides.write_to_online_store("short", df=frame)

    def texts() -> list[Any]:
        rows = [{"driver_id": driver} for driver in (123, 567, 890)]
        found: list[Any] = rides.get_online_features(features=["short:text"], entity_rows=rows).to_dict()["text"]
        return found

    write([123, 890], ["hi", "expired"], HOUR)
    write([123, 567], ["older", "hello"], 2 * HOUR)
    assert texts() == ["hi", "hello", "expired"]
    write([123], ["latest"], timedelta(0))
    assert texts() == ["latest", "hello", "expired"]
    write([890], ["long gone"], 9 * HOUR)
    assert texts() == ["latest", "hello", "expired"]
    gone = FeatureView(name="gone", entities=[DRIVER], schema=short.schema, source=source, ttl=HOUR)
    rides.apply([gone])
    frame = pd.DataFrame({"driver_id": [123], "text": ["x"], "event_timestamp": [NOW - 2 * HOUR]})
    rides.write_to_online_store("gone", df=frame)
    rows = [{"driver_id": 123}]
    assert rides.get_online_features(features=["gone:text"], entity_rows=rows).to_dict()["text"] == [None]
    rides.apply([], objects_to_delete=[short, gone], partial=False)


def test_a_second_materialisation_changes_nothing(rides: FeatureStore) -> None:
    before = rides.get_online_features(features=REFS, entity_rows=ROWS).to_dict()
    rides.materialize(NOW - timedelta(days=3), NOW - 5 * HOUR, feature_views=["driver_stats"])
    assert rides.get_online_features(features=REFS, entity_rows=ROWS).to_dict() == before


def test_clean_up_of_one_of_two_views_of_an_entity(rides: FeatureStore) -> None:
    source = FileSource(name="simple_file", path="absent.parquet", timestamp_field="event_timestamp")
    schema = [Field(name="driver_id", dtype=Int64), Field(name="value", dtype=Float64)]
    first, second = (
        FeatureView(name=name, entities=[DRIVER], schema=schema, source=source) for name in ("first", "second")
    )
    rides.apply([first, second])
    for name in ("first", "second"):
        frame = pd.DataFrame({"driver_id": DRIVERS, "value": [1.0, 2.0, 3.0, 4.0], "event_timestamp": [NOW] * 4})
        rides.write_to_online_store(name, df=frame)
    rows = [{"driver_id": driver} for driver in DRIVERS]

    def values(name: str) -> list[Any]:
        found: list[Any] = rides.get_online_features(features=[f"{name}:value"], entity_rows=rows).to_dict()["value"]
        return found

    rides.apply([first], objects_to_delete=[second], partial=False)
    assert values("first") == [1.0, 2.0, 3.0, 4.0]
    rides.apply([], objects_to_delete=[first], partial=False)
    rides.apply([first])
    assert values("first") == [None] * 4
    rides.apply([], objects_to_delete=[first], partial=False)
