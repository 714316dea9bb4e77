"""Feast's values, keys, filters and times at the edge of the store: what is refused, and in which words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.filter_models import ComparisonFilter, CompoundFilter
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, FloatList, Int64List, Value
from feast.types import Float32, Int32, Int64, String, UnixTimestamp

from connector.errors import ConfigurationError, FilterError, StoreError
from connector.stores import collection_spec_of_view
from connector.stores.entity_keys import entity_keys, key_table
from connector.stores.expiry import EARLIEST, alive_since, unexpired
from connector.stores.feast_filters import filter_of_feast
from connector.stores.feast_values import from_protos, to_protos, vectors_from_protos
from connector.stores.filters import parse_filter

ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
SHOP = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT32)
NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
TYPES: dict[str, Any] = {
    "name": "string",
    "stock": "int64",
    "price": "float64",
    "sold": "bool",
    "seen": "timestamp",
    "tags": "opaque",
}


def view(*fields: Field, entities: list[Entity] | None = None, **settings: Any) -> FeatureView:
    chosen = entities or [ITEM]
    keys = [Field(name=e.join_key, dtype=String if e is ITEM else Int32) for e in chosen]
    source = FileSource(name="file", path="a.parquet", timestamp_field="event_timestamp")
    return FeatureView(name="stats", entities=chosen, schema=[*keys, *fields], source=source, **settings)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", Value(bytes_val=b"abc")),
        ("string", Value(int64_val=1)),
        ("int64", Value(bool_val=True)),
        ("int64", Value(double_val=1.0)),
        ("bool", Value(int32_val=1)),
        ("float64", Value(string_val="1")),
        ("timestamp", Value(string_val="2026-03-01")),
        ("int64", Value(int64_list_val=Int64List(val=[1]))),
    ],
)
def test_a_value_of_another_type_is_told_by_its_kind(kind: Any, value: Value) -> None:
    with pytest.raises(ValueError, match=f"expected {kind}, found {value.WhichOneof('val')}"):
        from_protos(kind, [None, Value(), value])


def test_numbers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"float|range|exactly"):
        from_protos("float64", [Value(int64_val=2**53 + 1)])
    with pytest.raises(ValueError, match=r"int64|range|convert|large"):
        from_protos("timestamp", [Value(unix_timestamp_val=10**15)])
    with pytest.raises(ValueError, match=r"range"):
        to_protos("Int32", pa.array([2**40]))


def test_nulls_of_every_spelling() -> None:
    none = [None, Value(), Value(null_val=0)]  # type: ignore[arg-type]
    for kind in ("bool", "int64", "float64", "string", "timestamp", "opaque"):
        assert from_protos(kind, none).null_count == 3  # type: ignore[arg-type]
    assert vectors_from_protos(2, none).null_count == 3


def test_vectors_of_floats_and_doubles() -> None:
    lists = [Value(float_list_val=FloatList(val=[1, 2])), Value(double_list_val=DoubleList(val=[3, 1e300]))]
    found = np.array(vectors_from_protos(2, lists).to_pylist())
    assert found[0].tolist() == [1, 2]
    assert np.isinf(found[1, 1])
    short = vectors_from_protos(2, [Value(float_list_val=FloatList(val=[1])), None])
    assert short.to_pylist() == [[1.0], None]
    with pytest.raises(ValueError, match="int64_list_val"):
        vectors_from_protos(2, [Value(int64_list_val=Int64List(val=[1, 2]))])


def test_entity_keys_both_ways() -> None:
    spec = collection_spec_of_view(view(Field(name="a", dtype=Int64), entities=[ITEM, SHOP]))
    keys = [
        EntityKey(join_keys=["shop_id", "item_id"], entity_values=[Value(int32_val=7), Value(string_val="ü")]),
        EntityKey(join_keys=["item_id", "shop_id"], entity_values=[Value(string_val=""), Value(int64_val=-1)]),
    ]
    table = pa.table(key_table(spec, keys))
    assert table.to_pylist() == [{"item_id": "ü", "shop_id": 7}, {"item_id": "", "shop_id": -1}]
    back = entity_keys(view(Field(name="a", dtype=Int64), entities=[ITEM, SHOP]), spec, table)
    assert list(back[0].join_keys) == ["item_id", "shop_id"]
    assert back[1].entity_values[1] == Value(int32_val=-1)


@pytest.mark.parametrize(
    "key",
    [
        EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="a")]),
        EntityKey(join_keys=["item_id"], entity_values=[Value(int64_val=1)]),
        EntityKey(),
    ],
)
def test_keys_of_another_entity(key: EntityKey) -> None:
    with pytest.raises(StoreError, match="entity key"):
        key_table(collection_spec_of_view(view(Field(name="a", dtype=Int64))), [key])


@pytest.mark.parametrize("name", ["event_timestamp", "created_timestamp"])
def test_a_feature_called_like_a_row_s_own_time(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        collection_spec_of_view(view(Field(name=name, dtype=UnixTimestamp)))


def compare(kind: str, key: str, value: Any) -> ComparisonFilter:
    return ComparisonFilter(type=kind, key=key, value=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "sql"),
    [
        (compare("eq", "name", "it's"), "name = 'it''s'"),
        (compare("ne", "stock", np.int64(3)), "stock != 3"),
        (compare("in", "stock", (1, None, 2, 2)), "stock IN (1, 2)"),
        (compare("nin", "name", ["a"]), "name NOT IN ('a')"),
        (compare("eq", "name", None), "name IS NULL"),
        (compare("ne", "name", None), "name IS NOT NULL"),
        (compare("gte", "seen", NOW), "seen >= '2026-03-01T00:00:00Z'"),
        (compare("lt", "price", 0.5), "price < 0.5"),
    ],
)
def test_a_filter_means_what_its_sql_means(given: ComparisonFilter, sql: str) -> None:
    assert filter_of_feast(given, TYPES).tree == parse_filter(sql, TYPES).tree


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (compare("eq", "nothing", 1), "not a field"),
        (compare("eq", "tags", "x"), "cannot|not filtered"),
        (compare("gt", "stock", "many"), "expected"),
        (compare("gt", "stock", True), "expected"),
        (compare("gt", "price", float("nan")), "number"),
        (compare("gt", "name", None), "no order"),
        (compare("eq", "name", "\ud800"), "surrogates"),
        (compare("eq", "sold", 1), "bool"),
        (compare("eq", "seen", "soon"), "seen"),
        (compare("in", "stock", 3), "list"),
        (compare("in", "stock", "12"), "list"),
        ({"type": "eq", "key": "name", "value": "a"}, "ComparisonFilter"),
        ("name = 'a'", "ComparisonFilter"),
        (CompoundFilter(type="or", filters=[compare("eq", "stock", n) for n in range(5000)]), "4096"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_filters_that_make_no_sense(given: Any, said: str) -> None:
    with pytest.raises(FilterError, match=said) as caught:
        filter_of_feast(given, TYPES)
    assert "\n" not in str(caught.value)


def test_a_filter_nested_without_end() -> None:
    nested: Any = compare("eq", "stock", 1)
    for _ in range(200):
        nested = CompoundFilter(type="and", filters=[nested])
    with pytest.raises(FilterError, match="deeper"):
        filter_of_feast(nested, TYPES)


def test_floats_of_single_precision_are_compared_as_such() -> None:
    single = filter_of_feast(compare("eq", "price", 0.1), TYPES, frozenset({"price"}))
    assert single.tree == filter_of_feast(compare("eq", "price", float(np.float32(0.1))), TYPES).tree
    spec = collection_spec_of_view(view(Field(name="price", dtype=Float32)))
    assert spec.fields[0].type == "float64"


def test_expiry() -> None:
    assert alive_since(None, NOW) is None
    assert alive_since(timedelta(0), NOW) is None
    assert alive_since(timedelta(days=1), NOW) == NOW - timedelta(days=1)
    assert alive_since(timedelta.max, NOW) == EARLIEST
    where = parse_filter("stock > 1", TYPES)
    assert unexpired(where, None, NOW) is where
    both = unexpired(where, timedelta(days=1), NOW)
    assert both is not None
    assert set(both.fields) == {"stock", "event_timestamp"}
