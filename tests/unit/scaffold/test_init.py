"""The files of a new repository."""

from __future__ import annotations

import ast
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.config import load_settings
from connector.errors import ConfigurationError
from connector.scaffold import Endpoints, generic_shop, init_repository
from connector.scaffold.render import render

ROOT = Path(__file__).parents[3]


def test_the_tracked_repository_is_what_init_writes() -> None:
    files = render(generic_shop("shop"), Endpoints(model_repository="../triton_models"))
    assert {name: (ROOT / "feature_repo" / name).read_text(encoding="utf-8") for name in files} == files


def test_every_file_is_written_and_readable(tmp_path: Path) -> None:
    written = init_repository(tmp_path / "my shop", endpoints=Endpoints("http://127.0.0.1:19530", "localhost:8001"))
    assert written.shape.project == "my_shop"
    assert sorted(path.name for path in written.folder.iterdir()) == sorted(written.files)
    store = yaml.safe_load((written.folder / "feature_store.yaml").read_text())
    assert store["project"] == "my_shop"
    assert store["online_store"] == {
        "type": "connector.stores.online.MilvusOnlineStore",
        "uri": "http://127.0.0.1:19530",
    }
    assert store["entity_key_serialization_version"] == 3
    triton = load_settings(written.folder).triton
    assert (triton.url, triton.mode, triton.model_repository) == ("localhost:8001", "auto", "triton_models")
    ast.parse((written.folder / "features.py").read_text())


def test_nothing_is_overwritten_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "features.py").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"features\.py"):
        init_repository(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["features.py"]
    init_repository(tmp_path, force=True)
    assert "embedding_view" in (tmp_path / "features.py").read_text()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(ConfigurationError, match="is a file"):
        init_repository(tmp_path / "there")


@pytest.mark.parametrize("name", ["a b", "1shop", "x" * 60, "a;b", "ä", "a\nb", '"'])
def test_bad_project_and_entity_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="letters"):
        init_repository(tmp_path / "r", project=name)
    with pytest.raises(ConfigurationError, match="letters"):
        init_repository(tmp_path / "r", entity=name)
    assert not (tmp_path / "r").exists()


def test_feast_does_not_read_the_models_as_features(tmp_path: Path) -> None:
    written = init_repository(tmp_path / "r")
    assert "triton_models" in (written.folder / ".feastignore").read_text().splitlines()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    names=st.lists(st.text(min_size=1, max_size=30), unique=True, min_size=4, max_size=4),
    project=st.text(min_size=1, max_size=20).filter(
        lambda text: text not in (".", "..") and not set(text) & set("/\0")
    ),
)
def test_no_column_name_can_put_code_into_the_files(names: list[str], project: str) -> None:
    """The module imports, builds views and assigns them, whatever the catalogue calls its columns."""
    try:
        encoded = [name.encode() for name in names]
    except UnicodeEncodeError:
        return
    assert len(encoded) == 4
    table = pa.table(
        {
            names[0]: ["a", "b"],
            names[1]: ["a long red dress", "some blue shoes"],
            names[2]: [1.5, 2.5],
            names[3]: ["x", "x"],
        }
    )
    from connector.scaffold.infer import infer_shape
    from connector.scaffold.shape import identifier

    shape = infer_shape(table, project=identifier(project, "project"), key=names[0])
    files = render(shape, Endpoints())
    tree = ast.parse(files["features.py"])
    allowed = {"Entity", "Field", "content_view", "embedding_view", "default_contract", "FeatureService"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            assert node.func.id in allowed
    assert all(isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.Expr) for node in tree.body)
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert set(shape.text) <= strings
    assert yaml.safe_load(files["feature_store.yaml"])["project"] == shape.project
