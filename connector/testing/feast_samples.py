"""Values of every type that Feast has, as its stores get them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feast.protos.feast.types.Value_pb2 import Value

_UUIDS = ["5d2f1a58-7b4d-4a55-9d5e-0d3a3f6f2b11", "00000000-0000-0000-0000-000000000000"]
_TIMES = [1_772_323_200, 0, -86_400, 253_402_300_799]
_SCALARS: dict[str, tuple[str, list[Any]]] = {
    "Bool": ("bool", [True, False]),
    "Int32": ("int32", [2**31 - 1, -(2**31), 0]),
    "Int64": ("int64", [2**63 - 1, -(2**63), 0]),
    "Float32": ("float", [0.1, -1.5, 3.4028234663852886e38, 0.0]),
    "Float64": ("double", [0.1, -1e300, 5e-324, 0.0]),
    "String": ("string", ["plain", "", "ü 'quoted' \"twice\" \\ \n %_ 日本 🦆", "NULL"]),
    "Bytes": ("bytes", [b"\x00\xff", b"", b"plain"]),
    "UnixTimestamp": ("unix_timestamp", _TIMES),
    "Uuid": ("uuid", _UUIDS),
    "TimeUuid": ("time_uuid", _UUIDS),
    "Decimal": ("decimal", ["12345678901234567890.123456789", "-0.10", "0"]),
    "Json": ("json", ['{"a": [1, null, "ü"]}', "{}", "[]"]),
}
_ALIASES = {"PdfBytes": "Bytes", "ImageBytes": "Bytes"}
_NO_SET = {"Json"}


@cache
def scalar_samples() -> Mapping[str, Sequence[Value]]:
    """Name of a Feast type that is one value → values of it, extremes among them."""
    from feast.protos.feast.types.Value_pb2 import Value

    made = {name: [Value(**{f"{kind}_val": value}) for value in values] for name, (kind, values) in _SCALARS.items()}
    made.update({alias: made[name] for alias, name in _ALIASES.items()})
    return made


@cache
def collection_samples() -> Mapping[str, Sequence[Value]]:
    """Name of a Feast type that holds several values → values of it, an empty one among them where that is possible."""
    from feast.protos.feast.types import Value_pb2 as protos

    made: dict[str, list[Value]] = {}
    for name, (kind, values) in _SCALARS.items():
        for shape, suffix in (("Array", "list"), ("Set", "set")):
            if shape == "Set" and name in _NO_SET:
                continue
            field = f"{kind}_{suffix}_val"
            holder = getattr(protos, protos.Value.DESCRIPTOR.fields_by_name[field].message_type.name)
            made[f"{shape}({name})"] = [protos.Value(**{field: holder(val=values)}), protos.Value(**{field: holder()})]
    return {**made, **_nested_samples()}


def _nested_samples() -> dict[str, list[Value]]:
    from feast.protos.feast.types import Value_pb2 as protos

    value = protos.Value
    inner = protos.Map(val={"k": value(string_val="v"), "": value(int64_val=-1), "ü": value()})
    deeper = protos.Map(val={"m": value(map_val=inner), "l": value(bool_list_val=protos.BoolList(val=[True]))})
    numbers = [value(int64_list_val=protos.Int64List(val=items)) for items in ([1, -2], [], [2**62])]
    keyed = protos.ScalarMap()
    for number in (7, -7):
        entry = keyed.val.add()
        entry.key.int64_key = number
        entry.value.string_val = str(number)
    return {
        "Map": [value(map_val=deeper), value(map_val=protos.Map())],
        "Array(Map)": [value(map_list_val=protos.MapList(val=[inner, deeper])), value(map_list_val=protos.MapList())],
        "ScalarMap": [value(scalar_map_val=keyed)],
        "Struct": [value(struct_val=inner)],
        "Array(Struct)": [value(struct_list_val=protos.MapList(val=[inner]))],
        "Array(Array(Int64))": [value(list_val=protos.RepeatedValue(val=numbers))],
        "Set(Array(Int64))": [value(set_val=protos.RepeatedValue(val=numbers[:2]))],
        "ZonedTimestamp": [
            value(zoned_timestamp_val=protos.ZonedTimestamp(unix_timestamp=1_772_323_200, zone="Asia/Tokyo"))
        ],
    }


def feast_type(name: str) -> Any:
    """The Feast type of a name as the samples bear it."""
    from feast import types

    if name == "Struct":
        return types.Struct({"k": types.String, "": types.Int64, "ü": types.String})
    if "(" not in name:
        return getattr(types, name)
    shape, inner = name[:-1].split("(", 1)
    return getattr(types, shape)(feast_type(inner))


def _field_name(name: str) -> str:
    return "f_" + "".join(letter.lower() if letter.isalnum() else "_" for letter in name).strip("_")


def field_names(samples: Mapping[str, Sequence[Value]]) -> dict[str, str]:
    """Type → name of a feature of that type."""
    return {name: _field_name(name) for name in samples}
