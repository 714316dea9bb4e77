"""Questions whose right answers are known, because the goods' attributes are."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from examples.demo.drawing import draw
from examples.demo.goods import COLOURS, Good, pick
from examples.demo.wording import question

MOST_RELEVANT = 10
"""No question has more right answers, so that recall@10 can reach 1."""

Groups = dict[tuple[str, ...], list[Mapping[str, Any]]]

_ASKED: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (
        ("kind", "colour"),
        ("kind", "pattern"),
        ("kind", "colour", "pattern"),
        ("kind", "colour", "material"),
        ("kind", "material", "pattern"),
    ),
    "filter": (("kind", "colour"), ("kind", "pattern"), ("kind", "material")),
    "picture": (("kind", "colour", "pattern"),),
}


@dataclass(frozen=True)
class Query:
    """One question and its right answers.

    Attributes:
        name: unique, e.g. `text-03`.
        asks: `text`, `filter` (text and a filter) or `picture`.
        text: what is typed; None for a picture.
        image: JPEG bytes of a fresh drawing; None otherwise.
        where: a filter as `search(where=…)` takes it; None without one.
        attributes: attribute → value that every right answer has.
        max_price: with a filter, the price that right answers stay below.
        relevant: item_ids of the right answers, 1 to `MOST_RELEVANT` of them.
    """

    name: str
    asks: Literal["text", "filter", "picture"]
    text: str | None
    image: bytes | None
    where: str | None
    attributes: Mapping[str, str]
    max_price: float | None
    relevant: frozenset[str]

    @property
    def visible(self) -> bool:
        """Whether a picture alone shows the answer (material does not reliably show)."""
        return "material" not in self.attributes

    def accepts(self, item: Mapping[str, Any]) -> bool:
        """Whether an item with these columns is a right answer."""
        fits = all(item[name] == value for name, value in self.attributes.items())
        return fits and (self.max_price is None or item["price"] < self.max_price)

    def recall(self, found: Sequence[str]) -> float:
        """Share of the right answers among the item_ids `found`."""
        return len(self.relevant.intersection(found)) / len(self.relevant)


def queries(
    catalogue: pa.Table, seed: int = 0, *, text: int = 60, filters: int = 30, pictures: int = 30
) -> list[Query]:
    """Questions over `catalogue`, each with 1 to `MOST_RELEVANT` right answers.

    Args:
        catalogue: as `shop.catalogue` gives it.
        seed: another seed asks other questions, and draws other pictures.
        text, filters, pictures: how many of each.
    """
    rng = np.random.default_rng([seed, 0x0A5C])
    items = catalogue.drop_columns(["image"]).to_pylist()
    asked: list[Query] = []
    for asks, count in (("text", text), ("filter", filters), ("picture", pictures)):
        most = len(items) if asks == "filter" else MOST_RELEVANT
        groups = [_groups(items, form, most) for form in _ASKED[asks]]
        chosen = list(itertools.islice(_in_turn(groups, rng), count))
        for number, (form, values) in enumerate(chosen, start=1):
            attributes = dict(zip(_ASKED[asks][form], values, strict=True))
            asked.append(_query(f"{asks}-{number:02d}", asks, attributes, groups[form][values], rng))
    return asked


def _in_turn(groups: list[Groups], rng: np.random.Generator) -> Iterator[tuple[int, tuple[str, ...]]]:
    """One of the first form, one of the second, …, each in an order of its own, until all are used up."""
    orders = [[list(members)[i] for i in np.argsort(rng.random(len(members)), kind="stable")] for members in groups]
    for values in itertools.zip_longest(*orders):
        yield from ((form, value) for form, value in enumerate(values) if value is not None)


def _groups(items: Sequence[Mapping[str, Any]], form: tuple[str, ...], most: int) -> Groups:
    """Attribute values → the items that have them, where there are not too many."""
    groups: Groups = defaultdict(list)
    for item in items:
        groups[tuple(item[name] for name in form)].append(item)
    return {values: members for values, members in groups.items() if len(members) <= most}


def _price_limit(prices: list[float], rng: np.random.Generator) -> float:
    """A limit that the cheapest few of the sorted `prices` stay below, in whole euros where that is possible."""
    cut = 1 + int(rng.random() * min(len(prices), MOST_RELEVANT))
    following = [price for price in prices[cut:] if price > prices[cut - 1]]
    whole = float(np.floor(prices[cut - 1]) + 1)
    return min([whole, *following[:1]])


def _query(
    name: str, asks: Any, attributes: dict[str, str], members: list[Mapping[str, Any]], rng: np.random.Generator
) -> Query:
    limit = None
    if asks == "filter":
        # So that the filter decides who is right.
        limit = _price_limit(sorted(float(item["price"]) for item in members), rng)
        members = [item for item in members if item["price"] < limit]
    picture = None
    if asks == "picture":
        shade = pick(rng, tuple(COLOURS[attributes["colour"]]))
        material = str(pick(rng, members)["material"])
        good = Good(attributes["kind"], attributes["colour"], shade, attributes["pattern"], material, 0.0)
        picture = draw(good, rng)
    return Query(
        name=name,
        asks=asks,
        text=None if asks == "picture" else question(attributes, rng),
        image=picture,
        where=None if limit is None else f"price < {limit:g}",
        attributes=attributes,
        max_price=limit,
        relevant=frozenset(str(item["item_id"]) for item in members),
    )
