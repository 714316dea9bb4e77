"""Every Feast type comes back as it went in."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import pytest

from connector.testing.feast_samples import collection_samples, feast_type, field_names, scalar_samples
from connector.testing.online_fixtures import NOW, Applied, Make, OnlineFixtures, item, utc

SAMPLES = {**scalar_samples(), **collection_samples()}
NAMES = field_names(SAMPLES)
NULL = len(max(SAMPLES.values(), key=len))
"""Number of the row whose features are all null."""


class ValueTests(OnlineFixtures):
    """One row for each sample of a type, and one of nulls."""

    @pytest.fixture(scope="class")
    @classmethod
    def written(cls, make: Make) -> Applied:
        """A view with a feature of every type, filled."""
        from feast import Field

        applied = make([Field(name=NAMES[name], dtype=feast_type(name)) for name in SAMPLES])
        filled = zip_longest(*SAMPLES.values())
        rows = [dict(zip(NAMES.values(), values, strict=True)) for values in filled]
        applied.write(
            *((item(number), row, NOW, None) for number, row in enumerate([*rows, dict.fromkeys(NAMES.values())]))
        )
        return applied

    @pytest.fixture(scope="class")
    @classmethod
    def answer(cls, written: Applied) -> list[Mapping[str, Any]]:
        """Every row, read at once."""
        keys = [written.key(item(number)) for number in range(NULL + 1)]
        found = []
        for time, row in written.store.online_read(written.config, written.view, keys, written.names):
            assert utc(time) == NOW
            assert row is not None
            found.append(row)
        return found

    @pytest.mark.parametrize("name", SAMPLES)
    def test_every_type_comes_back(self, answer: list[Mapping[str, Any]], name: str) -> None:
        for number, wanted in enumerate(SAMPLES[name]):
            assert answer[number][NAMES[name]] == wanted

    @pytest.mark.parametrize("name", SAMPLES)
    def test_null_comes_back_as_null(self, answer: list[Mapping[str, Any]], name: str) -> None:
        value = answer[NULL].get(NAMES[name])
        assert value is None or value.WhichOneof("val") in (None, "null_val")

    def test_types_through_feast(self, written: Applied) -> None:
        """What applications get: Python values, typed by the view."""
        found = written.feast.get_online_features(
            features=[f"{written.view.name}:{name}" for name in written.names],
            entity_rows=[dict(item(number)) for number in (1, NULL, 0)],
        ).to_dict()
        text, number, flag = (NAMES[name] for name in ("String", "Int64", "Bool"))
        assert found[text] == ["", None, "plain"]
        assert found[number] == [-(2**63), None, 2**63 - 1]
        assert found[flag] == [False, None, True]
        assert found[NAMES["Bytes"]] == [b"", None, b"\x00\xff"]
        assert found[NAMES["Array(String)"]][1:] == [None, [sample.string_val for sample in SAMPLES["String"]]]
        assert found[NAMES["Map"]][0] == {}
        assert found[NAMES["Map"]][2]["m"]["k"] == "v"
