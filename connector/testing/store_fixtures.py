"""Collections that the tests of the vector-store suite share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from connector.stores.base import CollectionSpec, VectorStore
from connector.testing.rows import (
    mixed_rows,
    shop_spec,
)

Make = Callable[..., CollectionSpec]


class StoreFixtures:
    """A subclass gives the `store` fixture, of class scope."""

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls) -> Iterator[VectorStore]:
        """An open store with no collections of the names used here."""
        raise NotImplementedError("give a class-scoped fixture `store`")

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, store: VectorStore) -> Iterator[Make]:
        """Makes a collection of its own for a test; all are dropped at the end."""
        made: list[str] = []
        numbers = itertools.count(1)

        def create(**changes: Any) -> CollectionSpec:
            spec = replace(shop_spec(f"suite_{next(numbers)}__v1"), **changes)
            store.drop(spec.name)
            made.append(spec.name)
            store.create(spec)
            return spec

        yield create
        for name in made:
            store.drop(name)

    @pytest.fixture(scope="class")
    @classmethod
    def shop(cls, store: VectorStore, make: Make) -> CollectionSpec:
        """A collection that holds `mixed_rows()`; only read."""
        spec = make()
        store.write(spec.name, mixed_rows())
        return spec

    @pytest.fixture(scope="class")
    @classmethod
    def notes(cls, make: Make) -> CollectionSpec:
        """A collection that tests write keys of their own into."""
        return make()
