"""Feast's own command on our store, with its SQL registry: plan, apply, both ways to materialize, teardown."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from feast import FeatureStore
from feast.cli.cli import cli

from connector.stores.online import open_vector_store

NOW = datetime.now(timezone.utc).replace(microsecond=0)
HOUR = timedelta(hours=1)
VECTORS = np.random.default_rng(7).standard_normal((5, 4)).astype(np.float32)
KEYS = ["i3", "i0", "i4", "i1", "i2"]
YAML = """project: shop
provider: local
registry:
  registry_type: sql
  path: sqlite:///{path}/registry.sqlite
  cache_ttl_seconds: 0
online_store:
  type: connector.stores.online.MilvusOnlineStore
  uri: milvus.db
offline_store:
  type: dask
entity_key_serialization_version: 3
"""
DEFINITIONS = """
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int64, String

from connector.spaces import embedding_view
from encoders.contract import external_contract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
look = embedding_view(
    "look",
    entity=item,
    contract=external_contract("ext", version=VERSION, dimension=4, modality="image"),
    vectors="vector",
    fields=[Field(name="title", dtype=String)],
    log_path="look",
)
stats = FeatureView(
    name="stats",
    entities=[item],
    schema=[Field(name="item_id", dtype=String), Field(name="clicks", dtype=Int64)],
    source=FileSource(name="stats_file", path="PATH/stats.parquet", timestamp_field="event_timestamp"),
)
"""


def feast_command(repository: Path, *arguments: str) -> Result:
    before = dict(os.environ)
    try:
        return CliRunner().invoke(cli, ["--chdir", str(repository), *arguments])
    finally:
        os.environ.update(before)
        sys.modules.pop("shop_definitions", None)


def declare(repository: Path, version: int) -> None:
    text = DEFINITIONS.replace("VERSION", str(version)).replace("PATH", str(repository))
    (repository / "shop_definitions.py").write_text(text)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "feature_store.yaml").write_text(YAML.format(path=tmp_path))
    declare(tmp_path, 1)
    (tmp_path / "look").mkdir()
    look = pd.DataFrame({"item_id": KEYS, "look_embedding": VECTORS.tolist(), "title": [f"t{key}" for key in KEYS]})
    look.assign(event_timestamp=NOW - HOUR, created_timestamp=NOW).to_parquet(tmp_path / "look" / "1.parquet")
    stats = pd.DataFrame({"item_id": KEYS, "clicks": range(5), "event_timestamp": [NOW - 9 * HOUR] * 5})
    stats.to_parquet(tmp_path / "stats.parquet")
    return tmp_path


def test_a_repository_through_the_command(repository: Path) -> None:
    planned = feast_command(repository, "plan", "--skip-source-validation")
    assert planned.exit_code == 0, planned.output
    assert "look" in planned.output
    assert not (repository / "milvus.db").exists()

    environment = {**os.environ, "PYTHONWARNINGS": "default", "PYTHONDONTWRITEBYTECODE": "1"}
    program = "from feast.cli.cli import cli; cli()"
    applied = subprocess.run(
        [sys.executable, "-c", program, "apply"],
        cwd=repository,
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert applied.returncode == 0, applied.stderr

    start, middle = ((NOW - hours * HOUR).strftime("%Y-%m-%dT%H:%M:%S") for hours in (48, 5))
    materialized = feast_command(repository, "materialize", start, middle)
    assert materialized.exit_code == 0, materialized.output
    assert clicks(repository) == {"i0": 1, "i4": 2, "nobody": None}

    newer = pd.DataFrame({"item_id": ["i0"], "clicks": [70], "event_timestamp": [NOW - 2 * HOUR]})
    older = pd.read_parquet(repository / "stats.parquet")
    pd.concat([older, newer]).to_parquet(repository / "stats.parquet")
    end = (NOW + HOUR).strftime("%Y-%m-%dT%H:%M:%S")
    incremental = feast_command(repository, "materialize-incremental", end)
    assert incremental.exit_code == 0, incremental.output
    assert clicks(repository) == {"i0": 70, "i4": 2, "nobody": None}
    assert search(repository) == sorted(KEYS)[:5]

    refuse_another_version(repository)

    gone = feast_command(repository, "teardown")
    assert gone.exit_code == 0, gone.output
    with open_vector_store(FeatureStore(repo_path=str(repository)).config) as store:
        assert store.list_collections() == []


def refuse_another_version(repository: Path) -> None:
    declare(repository, 2)
    refused = feast_command(repository, "apply", "--skip-source-validation")
    assert refused.exit_code != 0
    said = f"{refused.output} {refused.exception}"
    assert "look__v1 serves and holds rows" in said
    assert "connector apply" in said
    declare(repository, 1)
    assert feast_command(repository, "apply", "--skip-source-validation").exit_code == 0
    assert search(repository) == sorted(KEYS)


def opened(repository: Path, ask: Any) -> Any:
    store = FeatureStore(repo_path=str(repository))
    try:
        return ask(store)
    finally:
        asyncio.run(store.close())


def clicks(repository: Path) -> dict[str, Any]:
    keys = ["i0", "i4", "nobody"]
    rows = [{"item_id": key} for key in keys]
    found = opened(repository, lambda store: store.get_online_features(["stats:clicks"], rows).to_dict())
    return dict(zip(keys, found["clicks"], strict=True))


def search(repository: Path) -> list[str]:
    def ask(store: FeatureStore) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = store.retrieve_online_documents_v2(
            features=["look:title", "look:look_embedding"], query=VECTORS[0].tolist(), top_k=9
        ).to_dict()
        return found

    found = opened(repository, ask)
    assert found["title"] == [f"t{key}" for key in found["item_id"]]
    rows = [KEYS.index(key) for key in found["item_id"]]
    np.testing.assert_array_equal(np.array(found["look_embedding"], np.float32), VECTORS[rows])
    return list(found["item_id"])
