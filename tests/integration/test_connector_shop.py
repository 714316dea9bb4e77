"""The tracked feature repository as it stands, with the shipped encoders: words and pictures find what they show."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connector import Connector
from connector.config import Settings, TritonSettings
from connector.serving.environment import ServerEnvironment
from examples.demo.shop import catalogue

ROOT = Path(__file__).parents[2]
GOODS = 36


@pytest.fixture(scope="module")
def goods() -> pa.Table:
    return catalogue(size=GOODS)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `feature_repo`, applied by Feast's own command."""
    folder = tmp_path_factory.mktemp("tracked") / "feature_repo"
    shutil.copytree(ROOT / "feature_repo", folder, ignore=shutil.ignore_patterns("data", ".connector", "__pycache__"))
    feast = Path(sys.executable).with_name("feast")
    done = subprocess.run([str(feast), "apply"], cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def in_process(model_repository: Path) -> Settings:
    return Settings(triton=TritonSettings(mode="process", model_repository=str(model_repository)))


@pytest.fixture(scope="module")
def shop(repository: Path, model_repository: Path, goods: pa.Table) -> Iterator[Connector]:
    with Connector(repository, in_process(model_repository)) as connector:
        report = connector.ingest(goods)
        assert report.dead_letters == 0
        assert {name: view.written for name, view in report.views.items()} == dict.fromkeys(
            ["item_content", "item_image", "item_text"], GOODS
        )
        yield connector


def test_connector_apply_agrees_with_feast_apply(shop: Connector) -> None:
    before = shop.spaces()
    report = shop.apply()
    assert report.problems == []
    assert set(report.encoders.values()) == {"present"}
    assert [(space.name, space.rows) for space in report.spaces] == [("item_image", GOODS), ("item_text", GOODS)]
    assert shop.spaces() == before


def test_the_words_of_an_item_find_it(shop: Connector, goods: pa.Table) -> None:
    for row in goods.to_pylist()[::6]:
        found = shop.search("item_text", text=f"{row['title']}\n{row['description']}", k=3)
        assert found["title"][0].as_py() == row["title"]
        assert found["score"][0].as_py() > 0.95


def test_the_picture_of_an_item_finds_it(shop: Connector, goods: pa.Table, tmp_path: Path) -> None:
    for row in goods.to_pylist()[::6]:
        file = tmp_path / "picture"
        file.write_bytes(row["image"])
        found = shop.search("item_image", image=file, k=1)
        assert found["item_id"].to_pylist() == [row["item_id"]]
        assert found["score"][0].as_py() == pytest.approx(1, abs=1e-3)


def test_words_find_pictures(shop: Connector, goods: pa.Table) -> None:
    """Better than chance over the kinds: the shipped image encoder is aligned with the text encoder."""
    kinds = sorted(set(goods["kind"].to_pylist()))
    right = 0
    for kind in kinds:
        found = shop.search("item_image", text=f"a picture of a {kind}", k=1)
        right += found["kind"][0].as_py() == kind
    assert right >= len(kinds) / 2


def test_text_and_picture_together_over_both_spaces(shop: Connector, goods: pa.Table) -> None:
    row = goods.to_pylist()[5]
    found = shop.search(
        {"item_text": 0.5, "item_image": 0.5},
        text=row["title"],
        image=row["image"],
        k=5,
        where=f"price < {row['price'] + 1}",
        features=["item_content:description"],
    )
    assert found["item_id"][0].as_py() == row["item_id"]
    assert found["description"][0].as_py() == row["description"]
    assert max(found["price"].to_pylist()) < row["price"] + 1


def test_encoders_are_published_when_first_needed(
    repository: Path, shop: Connector, goods: pa.Table, tmp_path: Path
) -> None:
    """`feast apply` knows of no model repository; the first search fills it."""
    query: dict[str, Any] = {"text": goods["title"][0].as_py(), "k": 3}
    with Connector(repository, in_process(tmp_path / "models")) as fresh:
        found = fresh.search("item_text", **query)
    assert found["item_id"].to_pylist() == shop.search("item_text", **query)["item_id"].to_pylist()
    assert (tmp_path / "models" / "text" / "1" / "model.onnx").is_file()
    assert not (tmp_path / "models" / "image").exists()


@pytest.mark.triton
def test_the_same_through_triton(
    repository: Path,
    shop: Connector,
    goods: pa.Table,
    model_repository: Path,
    triton_environment: ServerEnvironment,
) -> None:
    settings = TritonSettings(mode="auto", model_repository=str(model_repository))
    row = goods.to_pylist()[7]
    queries: list[dict[str, Any]] = [{"text": row["title"]}, {"image": row["image"]}]
    with Connector(repository, Settings(triton=settings)) as served:
        for query in queries:
            here, there = (each.search("item_image", k=5, **query) for each in (shop, served))
            assert here["item_id"].to_pylist() == there["item_id"].to_pylist()
            assert here["score"].to_pylist() == pytest.approx(there["score"].to_pylist(), abs=1e-4)
        assert "Triton at" in served.encoders.describe()
