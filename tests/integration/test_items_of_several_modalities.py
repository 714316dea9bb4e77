"""Items of text and pictures into one space, some of either missing, and found again by either or both."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from connector import Connector
from connector.errors import QueryError, SchemaMismatchError
from connector.serving import LocalTriton, publish
from connector.serving.environment import ServerEnvironment
from tests.ready_shop import FEATURE_STORE
from tests.unit.encoders import tiny_models

FEATURES = """\
from pathlib import Path

from feast import Entity, Field, ValueType
from feast.types import String

from connector import embedding_view
from encoders import EncoderFolder

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
models = Path(__file__).parent / "models"
WHOLE, TEXT, IMAGE = (
    EncoderFolder.open(models / name / "1").contract for name in ("whole", "tiny_text", "tiny_image")
)
both = {"text": ["title", "colour"], "image": "picture"}
title = [Field(name="title", dtype=String)]

item_whole = embedding_view("item_whole", entity=item, contract=WHOLE, inputs=both, fields=title, missing="impute")
item_strict = embedding_view("item_strict", entity=item, contract=WHOLE, inputs=both, queries=[TEXT], missing="%s")
item_look = embedding_view(
    "item_look", entity=item, contract=IMAGE, inputs={"image": "picture", "text": "title"}, queries=[TEXT],
    missing="impute",
)
item_must = embedding_view(
    "item_must", entity=item, contract=IMAGE, inputs="picture", queries=[TEXT], missing="error"
)
"""
TITLES = ["red dress", "green apple", "wooden chair", "blue coat", "yellow lamp", "black shoe", "white cup", "pink hat"]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    output = io.BytesIO()
    Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC).save(output, "PNG")
    return output.getvalue()


def goods() -> pa.Table:
    """Eight things: the third without a picture, the fourth without words, the fifth with neither, a broken picture."""
    pictures: list[bytes | None] = [picture(seed) for seed in range(len(TITLES))]
    titles: list[str | None] = list(TITLES)
    pictures[2], titles[3], pictures[4], titles[4], pictures[5] = None, None, None, None, b"no picture"
    return pa.table(
        {
            "item_id": [f"i{row}" for row in range(len(TITLES))],
            "title": titles,
            "colour": pa.nulls(len(TITLES), pa.string()),
            "picture": pa.array(pictures, pa.binary()),
        }
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connector]:
    root = tmp_path_factory.mktemp("items")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        folder = root / "shop"
        folder.mkdir()
        (folder / "feature_store.yaml").write_text(FEATURE_STORE.format(uri="data/milvus.db"))
        (folder / "connector.yaml").write_text("triton: {mode: process, model_repository: models}\n")
        (folder / "features.py").write_text(FEATURES % "absent")
        (folder / ".feastignore").write_text("models\n")
        clip = tiny_models.clip(root / "clip")
        tower = tiny_models.fused(root / "tower", start=True, text=clip, image=clip)
        publish(folder / "models", tower, name="whole", version=1)
        with Connector(folder) as connector:
            assert connector.apply().problems == []
            yield connector


@pytest.fixture(scope="module")
def report(shop: Connector) -> Any:
    return shop.ingest(goods(), entity="item")


def keys(table: pa.Table) -> list[str]:
    return list(table["item_id"].to_pylist())


def vectors(shop: Connector, space: str) -> dict[str, list[float]]:
    """What is stored, by key."""
    store = shop._repository.vector_store
    declared = store.describe(space)
    assert declared is not None
    assert declared.vector is not None
    name = declared.vector.name
    rows = pa.Table.from_batches(store.scan(space, ["item_id", name]))
    return dict(zip(keys(rows), rows[name].to_pylist(), strict=True))


def test_each_space_keeps_to_its_policy(shop: Connector, report: Any) -> None:
    counts = {name: (view.written, view.absent, view.dead) for name, view in report.views.items()}
    # The broken picture is a dead letter of every space: it is not a missing one.
    assert counts == {
        "item_whole": (6, 1, 1),
        "item_strict": (4, 3, 1),
        "item_look": (6, 1, 1),
        "item_must": (5, 0, 3),
    }
    assert all(view.missing == [] for view in report.views.values())
    letters = pq.read_table(report.dead_letter_path).to_pylist()
    must = {row["key"]: (row["kind"], row["column"], row["reason"]) for row in letters if row["space"] == "item_must"}
    assert must["i2"] == must["i4"] == ("missing modality", "picture", "no image")
    whole = [row for row in letters if row["space"] == "item_whole"]
    assert [(row["key"], row["kind"]) for row in whole] == [("i5", "not encodable")]
    assert whole[0]["reason"].startswith("image: ")


def test_hits_say_which_modalities_they_had(shop: Connector, report: Any) -> None:
    said = {row["item_id"]: row["modalities"] for row in shop.search("item_whole", text="a thing").to_pylist()}
    assert said == {
        "i0": "image,text",
        "i1": "image,text",
        "i2": "image:imputed,text",
        "i3": "image,text:imputed",
        "i6": "image,text",
        "i7": "image,text",
    }
    whole = shop.search("item_whole", text="a thing", where="modalities = 'image,text'")
    assert set(keys(whole)) == {"i0", "i1", "i6", "i7"}
    made_up = shop.search("item_whole", text="a thing", where="modalities LIKE '%:imputed%'", fields=["modalities"])
    assert set(keys(made_up)) == {"i2", "i3"}
    looks = {row["item_id"]: row["modalities"] for row in shop.search("item_look", text="a thing").to_pylist()}
    assert looks["i2"] == "image:imputed"
    assert set(looks.values()) == {"image", "image:imputed"}
    assert "modalities" not in shop.search("item_must", text="a thing").column_names


def test_the_log_has_them_too(shop: Connector, report: Any) -> None:
    logged = pa.concat_tables(pq.read_table(path) for path in (shop.path / "data" / "item_look__v1").glob("*.parquet"))
    assert dict(zip(keys(logged), logged["modalities"].to_pylist(), strict=True))["i2"] == "image:imputed"


def test_a_stand_in_is_the_vector_of_its_own_encoder(shop: Connector, report: Any) -> None:
    found = shop.search("item_look", text="wooden chair", k=1).to_pylist()
    assert (found[0]["item_id"], found[0]["modalities"]) == ("i2", "image:imputed")
    assert found[0]["score"] == pytest.approx(1.0, abs=1e-4)


def test_the_space_is_asked_in_words_pictures_both_and_by_an_item(shop: Connector, report: Any) -> None:
    assert keys(shop.search("item_whole", text="wooden chair", k=1)) == ["i2"]
    assert keys(shop.search("item_whole", image=picture(3), k=1)) == ["i3"]
    both = shop.search("item_whole", text="pink hat", image=picture(7), k=1)
    assert keys(both) == ["i7"]
    assert both["score"][0].as_py() == pytest.approx(1.0, abs=1e-4)
    near = shop.search("item_whole", item_id="i7")
    assert "i7" not in keys(near)
    assert near.num_rows == 5
    spaces = shop.search({"item_whole": 0.7, "item_look": 0.3}, text="pink hat", image=picture(7), k=3)
    assert keys(spaces)[0] == "i7"
    assert {"item_whole.rank", "item_look.score", "modalities"} <= set(spaces.column_names)
    asked = shop.search(["item_whole", "item_look"], text="wooden chair").to_pylist()
    said = {row["item_id"]: (row["item_whole.modalities"], row["item_look.modalities"]) for row in asked}
    assert said["i2"] == ("image:imputed,text", "image:imputed")
    assert said["i3"] == ("image,text:imputed", "image")


def test_a_query_that_the_space_cannot_take(shop: Connector, report: Any) -> None:
    with pytest.raises(QueryError, match=r"cannot be queried by audio; use image= or text= or vector= or item_id="):
        shop.search("item_whole", audio=b"RIFF")
    with pytest.raises(QueryError, match="the query cannot be encoded: image: "):
        shop.search("item_whole", text="red dress", image=b"no picture")


def test_a_catalogue_without_a_column(shop: Connector, report: Any) -> None:
    words = goods().select(["item_id", "title"]).slice(6, 2)
    found = shop.ingest(words, entity="item", spaces=["item_whole", "item_strict"]).views
    assert found["item_whole"].written == 2
    assert found["item_strict"].skipped == "no column picture in the catalogue"
    again = shop.ingest(goods(), entity="item", spaces=["item_whole"])
    assert again.views["item_whole"].written == 6


def test_a_changed_policy_is_a_new_revision(shop: Connector, report: Any) -> None:
    features = shop.path / "features.py"
    before = features.read_text()
    try:
        features.write_text(FEATURES % "impute")
        (change,) = [change for change in shop.plan() if change.view == "item_strict"]
        assert change.change == "refused"
        assert "missing='absent' there, 'impute' declared; raise revision=" in change.detail
        with pytest.raises(SchemaMismatchError, match="missing='absent' there, 'impute' declared"):
            shop.apply()
        features.write_text(
            (FEATURES % "impute").replace('missing="impute")\nitem_look', 'missing="impute", revision=2)\nitem_look')
        )
        (change,) = [change for change in shop.plan() if change.view == "item_strict"]
        assert change.change == "candidate"
        shop.apply()
        shop.ingest(goods(), entity="item", spaces=["item_strict"])
        rows = {version.label: version.rows for version in shop.versions("item_strict")}
        assert rows == {"1": 4, "1r2": 6}
    finally:
        features.write_text(before)


def test_the_encoder_of_a_repository_is_the_one_declared(shop: Connector) -> None:
    contract = shop.spaces()["item_whole"].contract
    assert contract.shares_space_with(shop.spaces()["item_look"].contract)
    assert shop.encoders.get(contract).contract == contract


@pytest.mark.triton
def test_through_triton_it_is_the_same(
    shop: Connector, report: Any, triton_environment: ServerEnvironment, tmp_path: Path
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("feature_store.yaml", "features.py", ".feastignore"):
        shutil.copy(shop.path / name, folder / name)
    shutil.copytree(shop.path / "models", folder / "models")
    with LocalTriton(folder / "models", triton_environment) as server:
        (folder / "connector.yaml").write_text(
            f"triton: {{mode: server, url: '{server.grpc_url}', model_repository: models}}\n"
        )
        with Connector(folder) as served:
            assert served.apply().problems == []
            served_report = served.ingest(goods(), entity="item")
            letters = [pq.read_table(each.dead_letter_path).to_pylist() for each in (report, served_report)]
            reasons = [[(row["space"], row["key"], row["column"], row["reason"]) for row in some] for some in letters]
            assert reasons[0] == reasons[1]
            for space in ("item_whole", "item_strict", "item_look", "item_must"):
                here, there = vectors(shop, space), vectors(served, space)
                assert here.keys() == there.keys()
                assert all(np.dot(here[key], there[key]) >= 0.9999 for key in here)
            for query in ({"text": "wooden chair"}, {"image": picture(3)}, {"text": "pink hat", "image": picture(7)}):
                answers = [each.search("item_whole", **query) for each in (shop, served)]  # type: ignore[arg-type]
                assert keys(answers[0]) == keys(answers[1])
                assert answers[0]["modalities"] == answers[1]["modalities"]
