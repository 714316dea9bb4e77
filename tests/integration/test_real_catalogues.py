"""Real catalogues: what a person would expect among the first three."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector import Connector
from connector.scaffold import init_repository

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CONNECTOR_DATA", ROOT.parent / "shared" / "data"))
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; CONNECTOR_DATA names it"),
]


def filled(folder: Path, catalogue: Path) -> Connector:
    written = init_repository(folder, catalogue=catalogue)
    (folder / "connector.yaml").write_text("triton: {mode: process}\n")
    connector = Connector(folder)
    connector.apply()
    report = connector.ingest(catalogue, entity=written.shape.entity)
    assert report.dead_letters == 0
    assert all(view.written == report.rows for view in report.views.values())
    return connector


def test_groceries_by_words(tmp_path: Path) -> None:
    with filled(tmp_path / "grocery", DATA / "grocery" / "products.parquet") as connector:
        text = next(name for name, space in connector.spaces().items() if space.contract.modality == "text")
        image = next(name for name, space in connector.spaces().items() if space.contract.modality == "image")
        found = connector.search(text, text="sour green apple", k=3)["name"].to_pylist()
        assert any("Granny" in name for name in found), found
        # The pictures know the fruit; which apple it is, the small default does not tell from words.
        seen = connector.search(image, text="sour green apple", k=3, fields=["category"])["category"].to_pylist()
        assert seen == ["Apple"] * 3, seen


def test_films_by_their_plot(tmp_path: Path) -> None:
    films = pq.read_table(DATA / "movies" / "items.parquet")
    toys = films.filter(pa.compute.equal(films["title"], "Toy Story"))
    assert len(toys) == 1
    some = pa.concat_tables([toys, *(films.slice(place, 1) for place in range(5, len(films), 16))])
    catalogue = tmp_path / "films.parquet"
    pq.write_table(some, catalogue)
    with filled(tmp_path / "movies", catalogue) as connector:
        (text,) = connector.spaces()
        found = connector.search(text, text="toys come to life when nobody watches", k=3)["title"].to_pylist()
        assert "Toy Story" in found, found
