"""Feast's Python feature server on our store, with and without Feast's permissions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.feature_server import get_app
from feast.permissions.action import AuthzedAction
from feast.permissions.auth.auth_manager import AuthManager, set_auth_manager
from feast.permissions.auth.token_extractor import TokenExtractor
from feast.permissions.auth.token_parser import TokenParser
from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
from feast.permissions.security_manager import SecurityManager, no_security_manager, set_security_manager
from feast.permissions.user import User
from feast.types import Array, Float32, Int64, String

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
KEYS = ["i4", "i0", "i3", "i1", "i2", "i5"]
VECTORS = np.random.default_rng(5).standard_normal((6, 4)).astype(np.float32)
PERMISSIONS = [
    Permission(
        name="readers",
        types=[FeatureView, FeatureService],
        policy=RoleBasedPolicy(roles=["reader"]),
        actions=[AuthzedAction.READ_ONLINE],
    ),
    Permission(
        name="writers",
        types=[FeatureView],
        name_patterns=["shop_stats"],
        policy=RoleBasedPolicy(roles=["writer"]),
        actions=[AuthzedAction.READ_ONLINE, AuthzedAction.WRITE_ONLINE],
    ),
]


def view(name: str, fields: list[Field]) -> FeatureView:
    source = FileSource(name=f"{name}_file", path=f"data/{name}.parquet", timestamp_field="event_timestamp")
    schema = [Field(name="item_id", dtype=String), *fields]
    return FeatureView(
        name=name, entities=[ITEM], schema=schema, source=PushSource(name=f"{name}_push", batch_source=source)
    )


@pytest.fixture(scope="module")
def feast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    path: Path = tmp_path_factory.mktemp("server")
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(path / "registry.db"),
        online_store={"type": "connector.stores.online.MilvusOnlineStore", "uri": "milvus.db"},
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
        repo_path=path,
    )
    store = FeatureStore(config=config)
    vector = Field(name="look", dtype=Array(Float32), vector_index=True, vector_length=4, vector_search_metric="COSINE")
    look = view("shop_look", [vector, Field(name="title", dtype=String), Field(name="price", dtype=Int64)])
    stats = view("shop_stats", [Field(name="clicks", dtype=Int64)])
    card = FeatureService(name="card", features=[look[["title"]], stats])
    store.apply([ITEM, look, stats, card, *PERMISSIONS])
    frame = pd.DataFrame({"item_id": KEYS, "look": VECTORS.tolist(), "title": [f"t{key}" for key in KEYS]})
    frame = frame.assign(price=[int(key[1:]) for key in KEYS], event_timestamp=NOW)
    store.write_to_online_store("shop_look", df=frame)
    yield store
    store.teardown()


@pytest.fixture
def client(feast: FeatureStore) -> Iterator[TestClient]:
    """The server as Feast starts it, its start-up and shutdown included; without the timer of its registry."""
    with TestClient(get_app(feast, registry_ttl_sec=0)) as client:
        yield client


def columns(answer: Any) -> dict[str, list[Any]]:
    """What the server answers, by feature."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    names = body["metadata"]["feature_names"]
    return {name: result["values"] for name, result in zip(names, body["results"], strict=True)}


def stats(keys: list[str], clicks: list[int], at: datetime = NOW) -> dict[str, list[Any]]:
    return {"item_id": keys, "clicks": clicks, "event_timestamp": [at.isoformat()] * len(keys)}


def test_features_pushed_and_written_are_served(client: TestClient) -> None:
    pushed = client.post("/push", json={"push_source_name": "shop_stats_push", "df": stats(["i0", "i3"], [1, 3])})
    assert pushed.status_code == 200, pushed.text
    written = client.post(
        "/write-to-online-store", json={"feature_view_name": "shop_stats", "df": stats(["i1"], [2**53])}
    )
    assert written.status_code == 200, written.text
    asked = {"features": ["shop_stats:clicks"], "entities": {"item_id": ["i3", "nobody", "i1", "i0"]}}
    assert columns(client.post("/get-online-features", json=asked)) == {
        "item_id": ["i3", "nobody", "i1", "i0"],
        "clicks": [3, None, 2**53, 1],
    }


def test_a_feature_service_is_served(client: TestClient) -> None:
    asked = {"feature_service": "card", "entities": {"item_id": ["i2", "i5"]}, "full_feature_names": True}
    found = columns(client.post("/get-online-features", json=asked))
    assert found["shop_look__title"] == ["ti2", "ti5"]


def test_search_over_http(client: TestClient) -> None:
    asked = {
        "features": ["shop_look:title", "shop_look:price"],
        "query": VECTORS[2].tolist(),
        "top_k": 3,
        "api_version": 2,
        "filters": {"type": "and", "filters": [{"type": "gte", "key": "price", "value": 2}]},
    }
    found = columns(client.post("/search", json=asked))
    assert len(found["item_id"]) == 3
    assert "i3" in found["item_id"]
    assert found["title"] == [f"t{key}" for key in found["item_id"]]
    assert found["price"] == [int(key[1:]) for key in found["item_id"]]
    assert min(found["price"]) >= 2


def test_the_store_answers_after_the_server_has_gone(feast: FeatureStore) -> None:
    """Shutdown closes the store; the next call opens it again."""
    with TestClient(get_app(feast, registry_ttl_sec=0)) as client:
        assert client.get("/health").status_code == 200
    rows = [{"item_id": "i4"}]
    assert feast.get_online_features(features=["shop_look:title"], entity_rows=rows).to_dict()["title"] == ["ti4"]


class Bearer(TokenExtractor):
    def extract_access_token(self, **kwargs: Any) -> str:
        return str(kwargs["request"].headers.get("authorization", ""))


class Roles(TokenParser):
    """The token is the user's roles."""

    async def user_details_from_access_token(self, access_token: str) -> User:
        return User(username=access_token, roles=access_token.split("+"))


@pytest.fixture
def guarded(feast: FeatureStore) -> Iterator[TestClient]:
    """The server with Feast's permissions in force."""
    set_auth_manager(AuthManager(token_parser=Roles(), token_extractor=Bearer()))
    set_security_manager(SecurityManager(project="shop", registry=feast.registry))
    with TestClient(get_app(feast, registry_ttl_sec=0), raise_server_exceptions=False) as client:
        yield client
    no_security_manager()


@pytest.mark.parametrize(
    ("roles", "read", "searched", "written"),
    [("reader", 200, 200, 403), ("writer", 200, 403, 200), ("reader+writer", 200, 200, 200), ("guest", 403, 403, 403)],
)
def test_permissions_hold(guarded: TestClient, roles: str, read: int, searched: int, written: int) -> None:
    headers = {"authorization": roles}
    asked: dict[str, Any] = {"features": ["shop_stats:clicks"], "entities": {"item_id": ["i0"]}}
    assert guarded.post("/get-online-features", json=asked, headers=headers).status_code == read
    asked = {"features": ["shop_look:title"], "query": VECTORS[0].tolist(), "top_k": 1, "api_version": 2}
    assert guarded.post("/search", json=asked, headers=headers).status_code == searched
    asked = {"push_source_name": "shop_stats_push", "df": stats(["i5"], [5])}
    assert guarded.post("/push", json=asked, headers=headers).status_code == written
    assert guarded.post("/push", json=asked).status_code == 401
