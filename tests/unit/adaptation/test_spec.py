from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.adaptation import load_spec
from connector.adaptation.identity import identity_of
from connector.adaptation.run_spec import Record
from connector.adaptation.spec import columns_of, parse_spec
from connector.errors import ConfigurationError

PAIRS = [{"path": "items.parquet", "text": ["{title}"]}]


def spec(**changes: Any) -> dict[str, Any]:
    return {"out": "out", "pairs": PAIRS, "steps": 10, **changes}


def hash_of(values: dict[str, Any]) -> str:
    return identity_of(parse_spec(values))[0]


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
        (spec(learning_rate=float("nan")), "learning_rate", "finite number"),
        (spec(steps=None, epochs=float("inf")), "epochs", "finite number"),
        (spec(steps=None, epochs=1e300), "epochs", "less than or equal to 1000000000"),
        (spec(weight_decay=float("inf")), "weight_decay", "finite number"),
        (spec(pairs=[{**PAIRS[0], "weight": float("inf")}]), "pairs.0.weight", "finite number"),
        (spec(refit={"strength": float("inf")}), "refit.strength", "finite number"),
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


SOUNDS = [{"path": "sounds.parquet", "audio": "sound", "text": ["{title}"]}]
HISTORIES = {"out": "out", "steps": 10, "interactions": {"path": "i.parquet"}}
OF_ITEMS = {**HISTORIES, "content": {"path": "c.parquet"}}
ALIGNED = {
    "job": "collaborative_alignment",
    "out": "out",
    "steps": 10,
    "content": {"path": "c"},
    "vectors": {"path": "v"},
}
MEMBERS = {name: {"encoder": name, "columns": [name]} for name in ("text", "image")}
FUSED = {"job": "fusion", "out": "out", "steps": 10, "catalogue": {"path": "c.parquet"}, "members": MEMBERS}


@pytest.mark.parametrize(
    ("values", "changes", "remedy", "reason"),
    [
        (
            spec(pairs=SOUNDS, tower={"kind": "new_audio"}),
            {"augmentation": {"turn": 20}},
            {"tower": {"kind": "new_audio", "augmentation": {"mask": 0.3}}},
            "spec: .*augmentation: is of pictures",
        ),
        (
            spec(tower={"kind": "new_audio"}, pairs=SOUNDS),
            {"pairs": [{**SOUNDS[0], "image": "photo"}]},
            {},
            "pairs.0: .*image: a source of sounds",
        ),
        (
            {"job": "next_item", **HISTORIES},
            {"temperature": 0.1},
            {"temperature": 0.1, "normalize": True},
            "spec: .*temperature: is of unit vectors",
        ),
        (
            {"job": "masked_item", **HISTORIES},
            {"temperature": 0.1, "normalize": False},
            {"temperature": 0.1, "normalize": True},
            "spec: .*temperature: is of unit vectors",
        ),
        (
            {"job": "masked_item", **HISTORIES},
            {"last": 1, "masked": 0.2},
            {"last": 0.9, "masked": 0.2},
            "spec: .*masked: with last: 1 the newest item alone",
        ),
        (ALIGNED, {"factors": 12}, {}, "spec: .*factors: is of interactions"),
        (
            ALIGNED,
            {"least": 3},
            {"least": 3, "vectors": None, "interactions": {"path": "i"}},
            "spec: .*least: is of interactions",
        ),
        (
            {"job": "co_interaction", **OF_ITEMS},
            {"content": {"path": "c", "vector": "embedding", "text": "{title}"}},
            {"content": {"path": "c", "vector": "embedding"}},
            "content: .*vector: text is given",
        ),
        (
            {"job": "universal_sequence", **OF_ITEMS},
            {"content": {"path": "c", "encoder": "mine"}},
            {"content": {"path": "c", "encoder": "mine", "text": "{title}"}},
            "content: .*encoder: encodes text",
        ),
        (FUSED, {"anchor": 0.1}, {"anchor": 0.1, "towards": "text"}, "spec: .*anchor: weighs the loss towards"),
        (
            {"job": "co_interaction", **OF_ITEMS},
            {"pairs": "user_item", "window": 3},
            {"pairs": "item_item", "window": 3},
            "spec: .*window: is of pairs: item_item",
        ),
        (
            {"job": "universal_sequence", **OF_ITEMS},
            {"contrast": 0, "item_drop": 0.1},
            {"contrast": 0.1, "item_drop": 0.1},
            "spec: .*item_drop: is of the second loss",
        ),
        (
            {"job": "universal_sequence", **OF_ITEMS},
            {"contrast": 0, "value_drop": 0.1},
            {"contrast": 0},
            "spec: .*value_drop: is of the second loss",
        ),
    ],
)
def test_what_would_not_be_heeded_is_refused(
    values: dict[str, Any], changes: dict[str, Any], remedy: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=f"^job.yaml: {reason}.*; leave it out$") as caught:
        parse_spec({**values, **changes}, where="job.yaml")
    assert "\n" not in str(caught.value)
    heeded = {name: value for name, value in {**values, **remedy}.items() if value is not None}
    read = parse_spec(heeded)
    # What a job was told is readable by itself, with its defaults written out.
    assert parse_spec(json.loads(read.located(tmp_path).model_dump_json())) == read.located(tmp_path)


def test_every_number_of_every_spec_is_finite() -> None:
    def records(kind: type[Record]) -> list[type[Record]]:
        return [kind, *(found for child in kind.__subclasses__() for found in records(child))]

    from connector.adaptation.jobs import SPECS

    named = set(SPECS.json_schema()["$defs"])
    # The source of interactions is shared with evaluation, and checks its only number by itself.
    assert named - {kind.__name__ for kind in records(Record)} == {"InteractionSource"}
    assert all(kind.model_config.get("allow_inf_nan") is False for kind in records(Record))


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\x00"])
def test_a_file_that_is_no_spec(tmp_path: Path, content: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"job\.yaml"):
        load_spec(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_spec(tmp_path / "absent.yaml")


def test_hash_ignores_where_results_go() -> None:
    first = hash_of(spec())
    assert first == hash_of(spec(out="elsewhere"))
    assert first != hash_of(spec(seed=1))


def test_columns_of() -> None:
    assert columns_of("a {colour} {kind}, {{really}}") == ["colour", "kind"]


def test_only_length_rate_place_and_care_may_change_when_a_job_is_resumed() -> None:
    first = hash_of(spec())
    free = {
        "out": "b",
        "learning_rate": 0.5,
        "patience": 3,
        "evaluate_every": 7,
        "checkpoint_every": 7,
        "device": "cpu",
    }
    for values in (spec(**free), spec(steps=None, epochs=2), spec(steps=None, minutes=2)):
        assert hash_of(values) == first
    for changes in ({"seed": 1}, {"batch_size": 4}, {"warmup": 0.2}, {"weight_decay": 0.1}, {"temperature": 0.1}):
        assert hash_of(spec(**changes)) != first
