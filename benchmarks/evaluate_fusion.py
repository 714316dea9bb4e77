"""`python -m benchmarks.evaluate_fusion`: one vector for a product's photo and words, beside the plain mean.

The 296 photos of the validation split, which the shipped image encoder was not trained on, each with the words of its
product; other photos of the same products it was trained on. Two in five photos (or the photos of two in five products)
are kept from the job altogether, also from the choice of its best step. Every figure is a mean over products. Writes
benchmarks/results/fusion.json. Needs the real data.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

import encoders
from benchmarks.__main__ import table
from benchmarks.data import real_data
from benchmarks.harness import Figure, write_results
from benchmarks.seeds import with_interval
from connector.adaptation import pretrain
from connector.adaptation.fusion.spec import FusionSpec
from connector.evaluation import Interval, difference, interval, random_vectors

Vectors = NDArray[np.float32]
Hits = dict[str, NDArray[np.float64]]

SEEDS = (0, 1, 2)
HELD = 0.4
GATED, CONCATENATION, MEAN = "gated", "concatenation", "plain mean"
DEALT, RANDOM = "photos dealt to other items", "random vectors"
TEXT_REST, IMAGE_REST = "words → photo recall@1", "photo → words recall@1"
TEXT_WHOLE, IMAGE_WHOLE = "words → another item recall@1", "photo → another item recall@1"
# What is held out → how the job is told to learn. That of products was chosen with products held out in view.
SETTINGS: dict[str, dict[str, Any]] = {
    "photos held out": {"learning_rate": 1e-3},
    "products held out": {"learning_rate": 2e-5, "hidden": 32},
}


@dataclass
class Items:
    """Photos with the words of their products.

    Attributes:
        rows: catalogue columns `text`, `image`, `product`.
        products: str [items].
    """

    rows: pa.Table
    products: NDArray[np.str_]

    def take(self, chosen: NDArray[np.bool_]) -> Items:
        """Some of them."""
        return Items(self.rows.filter(pa.array(chosen)), self.products[chosen])


def main() -> None:
    """Command line."""
    data = real_data()
    if data is None:
        raise SystemExit("no real data: set CONNECTOR_DATA")
    with tempfile.TemporaryDirectory() as name:
        found = {setting: evaluate(Path(name), data, setting) for setting in SETTINGS}
    figures = [row for setting, systems in found.items() for row in rows(setting, systems)]
    notes = {
        **{f"products, {setting}": len(systems[MEAN][0][TEXT_REST]) for setting, systems in found.items()},
        "seeds": ", ".join(map(str, SEEDS)),
        **{
            f"settings, {setting}": ", ".join(f"{k} {v:g}" for k, v in how.items()) for setting, how in SETTINGS.items()
        },
    }
    write_results("fusion", figures, notes)
    Console(width=160).print(table({"fusion": figures}))


def evaluate(work: Path, data: Path, setting: str) -> dict[str, list[Hits]]:
    """System → for each of its seeds: question → one number for each product that has items held out."""
    every = items(data)
    held = held_out(every.products, whole_products=setting == "products held out")
    learned, asked = every.take(~held), every.take(held)
    path = work / f"{setting.replace(' ', '_')}.parquet"
    pq.write_table(learned.rows, path)
    found: dict[str, list[Hits]] = {}
    for head in (GATED, CONCATENATION):
        found[head] = []
        for seed in SEEDS:
            tower = train(path, work / f"{path.stem}_{head}_{seed}", head, seed, setting)
            with encoders.load(tower, name="item") as item:
                found[head].append(answers(asked.products, parts(asked, item.encode)))
                if head == GATED:
                    dealt = np.random.default_rng(seed).permutation(len(asked.products))
                    other = Items(asked.rows.set_column(1, "image", asked.rows["image"].take(dealt)), asked.products)
                    found.setdefault(DEALT, []).append(answers(asked.products, parts(other, item.encode)))
                dimension = item.contract.dimension
    found[MEAN] = [answers(asked.products, means(asked))]
    found[RANDOM] = [
        answers(
            asked.products, tuple(random_vectors(len(asked.products), dimension, 10 * s + part) for part in range(3))
        )
        for s in SEEDS
    ]
    return found


def items(data: Path) -> Items:
    """The validation photos."""
    products = {row["product_id"]: row for row in pq.read_table(data / "grocery" / "products.parquet").to_pylist()}
    photos = pq.read_table(data / "grocery" / "photos.parquet")
    photos = photos.filter(pc.equal(photos["split"], "val"))
    ids = photos["product_id"].to_pylist()
    words = [f"{products[product]['name']}. {products[product]['description']}" for product in ids]
    return Items(
        pa.table({"text": words, "image": photos["image"].combine_chunks(), "product": ids}), np.asarray(ids, np.str_)
    )


def held_out(products: NDArray[np.str_], *, whole_products: bool) -> NDArray[np.bool_]:
    """bool [items]; the same for every seed, so that figures of several trainings are of the same items."""
    rng = np.random.default_rng(0)
    if not whole_products:
        return rng.permutation(len(products)) < round(HELD * len(products))
    names = np.unique(products)
    return np.isin(products, names[rng.permutation(len(names)) < round(HELD * len(names))])


def train(path: Path, out: Path, head: str, seed: int, setting: str) -> Path:
    """Run the job → the tower's folder."""
    group = ["product"] if setting == "products held out" else []
    spec = FusionSpec.model_validate(
        {
            "job": "fusion",
            "out": str(out),
            "catalogue": {"path": str(path), "group": group},
            "members": {
                "text": {"encoder": "text", "columns": ["text"]},
                "image": {"encoder": "image", "columns": ["image"]},
            },
            "towards": "text",
            "head": head,
            "steps": 300,
            "batch_size": 64,
            "validation": 0.2,
            "evaluate_every": 50,
            "seed": seed,
            **SETTINGS[setting],
        }
    )
    return pretrain(spec, show=False).folder


def parts(asked: Items, encode: Callable[[list[dict[str, Any]]], Vectors]) -> tuple[Vectors, ...]:
    """Vectors of the words alone, of the photo alone, and of both."""
    both = [{"text": row["text"], "image": row["image"]} for row in asked.rows.to_pylist()]
    return tuple(
        encode([{name: value if name in kept else None for name, value in row.items()} for row in both])
        for kept in (("text",), ("image",), ("text", "image"))
    )


def means(asked: Items) -> tuple[Vectors, ...]:
    """As `parts`, by the plain mean of the members' vectors."""
    with encoders.load("text") as text, encoders.load("image") as image:
        words, photos = text.encode(asked.rows["text"].to_pylist()), image.encode(asked.rows["image"].to_pylist())
    both = words + photos
    return words, photos, both / np.linalg.norm(both, axis=1, keepdims=True)


def answers(products: NDArray[np.str_], vectors: tuple[Vectors, ...]) -> Hits:
    """Question → for each product, how often the nearest item shows it when one of its items asks.

    Items that ask do not count as answers where their own part is in what is searched.
    """
    text, image, whole = vectors

    def hits(queries: Vectors, documents: Vectors, *, others: bool) -> NDArray[np.float64]:
        scores = queries @ documents.T
        if others:
            np.fill_diagonal(scores, -np.inf)
        found = products[np.argmax(scores, axis=1)] == products
        names, numbers, sizes = np.unique(products, return_inverse=True, return_counts=True)
        shares = np.bincount(numbers, found, len(names)) / sizes
        return shares[sizes > 1] if others else shares

    return {
        TEXT_REST: hits(text, image, others=False),
        IMAGE_REST: hits(image, text, others=False),
        TEXT_WHOLE: hits(text, whole, others=True),
        IMAGE_WHOLE: hits(image, whole, others=True),
    }


def rows(setting: str, found: dict[str, list[Hits]]) -> Iterator[Figure]:
    """Each figure with its interval over products, the spread over trainings, and both heads beyond the mean."""
    for question in (TEXT_REST, IMAGE_REST, TEXT_WHOLE, IMAGE_WHOLE):
        for name, runs in found.items():
            middle = np.mean([run[question] for run in runs], axis=0)
            trainings = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
            yield with_interval(f"{setting}: {question}: {name}{trainings}", interval(middle))
            if name in (GATED, CONCATENATION):
                shares = [float(run[question].mean()) for run in runs]
                spread = Interval(float(np.median(shares)), min(shares), max(shares))
                yield with_interval(f"{setting}: {question}: {name}, lowest and highest seed", spread)
                gain = difference(middle, found[MEAN][0][question])
                yield with_interval(f"{setting}: {question}: {name} beyond {MEAN}, paired", gain)


if __name__ == "__main__":
    main()
