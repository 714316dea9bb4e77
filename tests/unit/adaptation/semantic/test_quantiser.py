from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

import encoders
from connector.adaptation import JobSpec, pretrain
from connector.adaptation.semantic.ids_job import figures_of
from connector.adaptation.semantic.next_job import read_encoder
from connector.adaptation.semantic.saving import load_quantiser
from connector.adaptation.spec import parse_spec
from connector.errors import (
    CatalogueError,
    ConfigurationError,
    ContractMismatchError,
    EncoderLoadError,
    TrainingError,
)
from encoders.semantic.quantiser import Codes, Quantiser
from encoders.semantic.trie import with_last_code


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 vectors: eight groups, in each of them four smaller ones, and some noise."""
    rng = np.random.default_rng(0)
    groups, parts = rng.normal(size=(8, 12)), 0.5 * rng.normal(size=(4, 12))
    vectors = groups[np.arange(300) % 8] + parts[np.arange(300) // 8 % 4] + 0.05 * rng.normal(size=(300, 12))
    path = tmp_path_factory.mktemp("content") / "content.parquet"
    table = pa.table({"item_id": [f"i{row:03d}" for row in range(300)], "vector": list(vectors.astype(np.float32))})
    pq.write_table(table, path)
    return path


@pytest.fixture
def make_job(content: Path, tmp_path: Path) -> Callable[..., JobSpec]:
    def make(out: str = "out", **changes: Any) -> JobSpec:
        values: dict[str, Any] = {
            "job": "semantic_ids",
            "out": str(tmp_path / out),
            "content": {"path": str(content)},
            "levels": 2,
            "size": 8,
            "latent": 8,
            "hidden": 32,
            "batch_size": 64,
            "steps": 200,
            "learning_rate": 0.003,
            "evaluate_every": 100,
            "checkpoint_every": 200,
            "device": "cpu",
        }
        return parse_spec({**values, **changes})

    return make


def test_codes_say_what_a_vector_is_and_every_item_has_an_id_of_its_own(make_job: Callable[..., JobSpec]) -> None:
    spec = make_job()
    report = pretrain(spec, show=False)
    assert report.metrics["explained"] > 0.6
    assert report.metrics["used/1"] == 1.0
    table = pq.read_table(Path(spec.out) / "semantic_ids.parquet")
    codes = np.stack(table["codes"].to_numpy())
    assert codes.shape == (300, 3)
    assert len(np.unique(codes, axis=0)) == 300
    # Items of one group share more of their first code than chance would have it.
    same = [np.bincount(codes[np.arange(300) % 8 == group, 0]).max() / 37 for group in range(8)]
    assert np.mean(same) > 0.5
    again = load_quantiser(report.folder)
    vectors = np.stack(pq.read_table(spec.content.path)["vector"].to_numpy())  # type: ignore[union-attr]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.array_equal(again.encode(torch.from_numpy(vectors)).numpy(), codes[:, :2])


def test_resumed_is_undisturbed(make_job: Callable[..., JobSpec]) -> None:
    changes = {"steps": 24, "checkpoint_every": 8, "evaluate_every": 12, "revive": 0.5}
    straight = pretrain(make_job("straight", **changes), show=False)
    broken = make_job("broken", **changes)
    pretrain(broken, until=10, show=False)
    resumed = pretrain(broken, resume=True, show=False)
    first, second = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_dead_entries_are_given_a_place_among_what_is_left_over() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(Codes(dimension=4, levels=2, size=6, latent=3, hidden=8))
    vectors = torch.randn(40, 4)
    with torch.no_grad():
        quantiser.books[0, 3] = 1e6
    used = quantiser.encode(vectors)[:, 0].unique()
    assert 3 not in used
    quantiser.usage[0, 3] = 0
    assert quantiser.revive(vectors, quantiser.encode(vectors), 0.1, torch.Generator().manual_seed(0)) >= 1
    assert float(quantiser.books[0, 3].detach().abs().max()) < 1e3
    assert 3 in quantiser.encode(vectors)[:, 0].unique()


def test_collisions_and_use_by_hand() -> None:
    codes = np.asarray([[0, 1], [0, 1], [0, 2], [3, 1], [0, 1]])
    assert figures_of(codes, 4) == {"used/1": 0.5, "used/2": 0.5, "collisions": 0.6, "longest_collision": 3.0}
    assert with_last_code(codes)[:, 2].tolist() == [0, 1, 0, 0, 2]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"item_id": ["a"]}, "no readable columns"),
        ({"item_id": ["a", "b"], "vector": ["x", "y"]}, "not lists of numbers"),
        ({"item_id": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]}, "vectors of 1 to 2 numbers"),
        ({"item_id": ["a", "a"], "vector": [[1.0], [2.0]]}, "an id of its own and a vector"),
        ({"item_id": ["a", "b"], "vector": [[1.0], None]}, "an id of its own and a vector"),
        ({"item_id": [1.0, float("nan")], "vector": [[1.0], [2.0]]}, "an id of its own and a vector"),
        ({"item_id": ["a", "b"], "vector": [[1.0], [0.0]]}, "the vector of 'b' is of zeros"),
        ({"item_id": ["a", "b"], "vector": [[1.0], [float("nan")]]}, "the vector of 'b'"),
        ({"item_id": ["a", "b"], "vector": [[1.0], [None]]}, "the vector of 'b'|no number"),
        ({"item_id": [], "vector": []}, "not lists of numbers|holds no items"),
    ],
)
def test_vectors_that_are_none(
    make_job: Callable[..., JobSpec], tmp_path: Path, table: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(CatalogueError, match=reason) as caught:
        pretrain(make_job(content={"path": str(path)}), show=False)
    assert "\n" not in str(caught.value)


def test_too_few_items_and_unknown_fields(make_job: Callable[..., JobSpec], tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    pq.write_table(pa.table({"item_id": ["a"], "vector": [[1.0, 2.0]]}), path)
    with pytest.raises(TrainingError, match="1 items are too few"):
        pretrain(make_job(content={"path": str(path)}), show=False)
    with pytest.raises(ConfigurationError, match="spec: sizes: unknown field"):
        make_job(sizes=3)
    with pytest.raises(TrainingError, match=r"step \d+: the (loss|gradient) is"):
        pretrain(make_job(learning_rate=1e30, warmup=0.0), show=False)


def test_vectors_that_are_all_alike(make_job: Callable[..., JobSpec], tmp_path: Path) -> None:
    path = tmp_path / "alike.parquet"
    ids = [f"i{row}" for row in range(60)]
    vectors = [[1.0 * row, 2.0 * row, 3.0 * row] for row in range(1, 61)]
    pq.write_table(pa.table({"item_id": ids, "embedding": vectors, "title": ["coat"] * 60}), path)
    for content, column in (
        ({"vector": "embedding"}, r"column 'embedding'"),
        ({"text": "{title}"}, r"text '{title}'"),
    ):
        told = rf"alike\.parquet: the vectors of all 60 items \({column}\) are alike"
        with pytest.raises(TrainingError, match=told) as caught:
            pretrain(make_job(content={"path": str(path), **content}), show=False)
        assert "\n" not in str(caught.value)


def test_the_encoder_of_the_vectors_is_written_down(make_job: Callable[..., JobSpec], tmp_path: Path) -> None:
    report = pretrain(make_job(steps=1), show=False)
    record = json.loads((report.folder / "tower.json").read_text())
    assert record["content_encoder"] is None
    assert "which encoder made them is not recorded" in (report.folder / "README.md").read_text()
    text, stranger = (
        encoders.default_contract("text"),
        encoders.external_contract("stranger", version=1, dimension=384, modality="text"),
    )
    load_quantiser(report.folder, stranger)

    path = tmp_path / "words.parquet"
    words = [f"{colour} {thing}" for colour in ("red", "green", "blue", "old") for thing in ("coat", "lamp", "chair")]
    pq.write_table(pa.table({"item_id": words, "title": words}), path)
    report = pretrain(make_job("words", steps=1, content={"path": str(path), "text": "{title}"}), show=False)
    record = json.loads((report.folder / "tower.json").read_text())
    assert encoders.EncoderContract.from_dict(record["content_encoder"]) == text
    assert text.label in (report.folder / "README.md").read_text()
    assert read_encoder(tmp_path / "words" / "semantic_ids.parquet") == record["content_encoder"]
    load_quantiser(report.folder, text.renamed("words", 3))
    with pytest.raises(ContractMismatchError) as caught:
        load_quantiser(report.folder, stranger)
    assert text.label in str(caught.value)
    assert stranger.label in str(caught.value)


def test_items_without_words_are_left_out_and_counted(make_job: Callable[..., JobSpec], tmp_path: Path) -> None:
    names = [*(f"thing {row}" for row in range(30)), None]
    table = pa.table({"item_id": [f"i{row}" for row in range(31)], "name": names})
    pq.write_table(table, tmp_path / "words.parquet")
    spec = make_job(content={"path": str(tmp_path / "words.parquet"), "text": "{name}"}, steps=1)
    report: Any = pretrain(spec, show=False)
    assert (report.items, report.skipped) == (30, {"item without words": 1})
    assert "i30" not in pq.read_table(Path(spec.out) / "semantic_ids.parquet")["item_id"].to_pylist()


def test_weights_that_are_not_the_records(make_job: Callable[..., JobSpec]) -> None:
    folder = pretrain(make_job(steps=1), show=False).folder
    state = load_file(folder / "model.safetensors")
    save_file({**state, "books": state["books"] + 1}, folder / "model.safetensors")
    with pytest.raises(EncoderLoadError, match=r"the weights are not those of tower\.json"):
        load_quantiser(folder)
