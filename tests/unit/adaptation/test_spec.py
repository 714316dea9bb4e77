from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.adaptation import load_spec
from connector.adaptation.spec import columns_of, parse_spec
from connector.errors import ConfigurationError

PAIRS = [{"path": "items.parquet", "text": ["{title}"]}]


def spec(**changes: Any) -> dict[str, Any]:
    return {"out": "out", "pairs": PAIRS, "steps": 10, **changes}


def test_the_shipped_spec_reads() -> None:
    path = Path(__file__).parents[3] / "examples" / "pretrain" / "default_image.yaml"
    read = load_spec(path)
    assert read.tower.kind in {"new", "pretrained"}
    assert {Path(source.path).parent for source in read.pairs} == {path.parent}


def test_a_relative_tower_counts_from_the_specs_folder_and_an_id_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for source, expected in (("mine", str(tmp_path / "mine")), ("google/mobilenet", "google/mobilenet")):
        read = parse_spec(spec(tower={"kind": "pretrained", "source": source})).located(tmp_path)
        assert read.tower.source == expected


@pytest.mark.parametrize(
    ("values", "place", "reason"),
    [
        (spec(learnin_rate=1), "learnin_rate", "unknown field"),
        (spec(tower={"kind": "new", "layers": 3}), "tower.new.layers", "unknown field"),
        (spec(tower={"kind": "huge"}), "tower", "huge"),
        (spec(epochs=2), "spec", "exactly one of steps, epochs and minutes"),
        (spec(steps=None), "spec", "exactly one of steps, epochs and minutes"),
        (spec(batch_size=1), "batch_size", "greater than or equal to 2"),
        (spec(learning_rate=float("nan")), "learning_rate", "greater than 0"),
        (spec(pairs=[]), "pairs", "at least 1"),
        (spec(pairs=[{"path": "x", "text": ["no column"]}]), "pairs.0.text", "names no column"),
        (spec(pairs=[{"path": "x", "text": ["{a.__class__}"]}]), "pairs.0.text", "not a plain column name"),
        (spec(pairs=[{"path": "x", "text": ["{a:>99999999999}"]}]), "pairs.0.text", "not a plain column name"),
        (spec(pairs=[{"path": "x", "text": ["{a"]}]), "pairs.0.text", "expected '}'"),
        (spec(tower={"kind": "new", "hidden_sizes": [8], "depths": [1, 1]}), "tower.new", "one length"),
        (spec(device=3), "device", "string"),
    ],
)
def test_a_bad_spec_is_one_clear_line(values: dict[str, Any], place: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_spec(values, where="job.yaml")
    message = str(caught.value)
    assert message.startswith(f"job.yaml: {place}")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\x00"])
def test_a_file_that_is_no_spec(tmp_path: Path, content: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"job\.yaml"):
        load_spec(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_spec(tmp_path / "absent.yaml")


def test_hash_ignores_where_results_go() -> None:
    first = parse_spec(spec())
    assert first.hash == parse_spec(spec(out="elsewhere")).hash
    assert first.hash != parse_spec(spec(seed=1)).hash


def test_columns_of() -> None:
    assert columns_of("a {colour} {kind}, {{really}}") == ["colour", "kind"]


def test_only_length_rate_place_and_care_may_change_when_a_job_is_resumed() -> None:
    first = parse_spec(spec())
    free = {
        "out": "b",
        "learning_rate": 0.5,
        "patience": 3,
        "evaluate_every": 7,
        "checkpoint_every": 7,
        "device": "cpu",
    }
    for values in (spec(**free), spec(steps=None, epochs=2), spec(steps=None, minutes=2)):
        assert parse_spec(values).hash == first.hash
    for changes in ({"seed": 1}, {"batch_size": 4}, {"warmup": 0.2}, {"weight_decay": 0.1}, {"temperature": 0.1}):
        assert parse_spec(spec(**changes)).hash != first.hash
