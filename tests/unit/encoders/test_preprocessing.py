from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from encoders import EncoderLoadError
from encoders.media.image import fit
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.text import TextPreprocessing
from tests.unit.encoders import tiny_models

CLIP = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "image_mean": [0.48, 0.45, 0.4],
    "image_std": [0.26, 0.26, 0.27],
    "resample": 3,
    "size": {"shortest_edge": 224},
}

# Not square, and not the same anywhere.
PICTURE = Image.fromarray(
    np.stack([np.mgrid[0:90, 0:200][0], np.mgrid[0:90, 0:200][1], np.mgrid[0:90, 0:200].sum(axis=0) // 2], 2).astype(
        np.uint8
    )
)


@pytest.mark.parametrize(
    ("record", "resize", "resize_to", "image_size"),
    [
        (CLIP, "short_side", 224, 224),
        ({**CLIP, "size": {"shortest_edge": 256}}, "short_side", 256, 224),
        ({**CLIP, "size": 224, "crop_size": 224}, "short_side", 224, 224),
        ({"size": 224, "feature_extractor_type": "ViTFeatureExtractor"}, "square", 224, 224),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, "square", 384, 384),
        ({"size": {"height": 384, "width": 384}}, "square", 384, 384),
        ({"image_processor": CLIP}, "short_side", 224, 224),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, "short_side", 256, 224),
        ({}, "square", 96, 96),
    ],
    ids=["clip", "dinov2", "old-form", "old-vit", "large-convnext", "vit", "nested", "convnext", "bare"],
)
def test_processor_records_are_read(record: dict[str, object], resize: str, resize_to: int, image_size: int) -> None:
    found = ImagePreprocessing.from_processor(record, 96 if not record else None)
    assert (found.resize, found.resize_to, found.image_size) == (resize, resize_to, image_size)


SHORT_SIDE, SQUARE = ["CLIP", "VideoMAE", "ConvNext", "MobileNetV1", "MobileNetV2", "Bit"], ["ViT", "DeiT", "Beit"]
EDGE, BOTH = {"shortest_edge": 64}, {"height": 64, "width": 64}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, size) for name in SHORT_SIDE for size in (64, 384, EDGE)),
        *((name, size) for name in SQUARE for size in (64, 384, BOTH)),
        ("CLIP", BOTH),
        ("Siglip", BOTH),
    ],
)
def test_pictures_are_what_transformers_makes_of_them(name: str, size: Any) -> None:
    kind = f"{name}ImageProcessor"
    theirs = getattr(transformers, kind).from_dict({"size": size, "crop_size": 56, "resample": 2})
    wanted = np.asarray(theirs([PICTURE], return_tensors="np")["pixel_values"])[0]
    record = {**theirs.to_dict(), "size": size, "crop_size": 56, "image_processor_type": kind}
    ours = ImagePreprocessing.from_processor(record)
    found = np.asarray(fit(PICTURE, ours), np.float32) * ours.scale
    found = ((found - np.array(ours.mean)) / np.array(ours.std)).transpose(2, 0, 1)
    wanted = wanted[0] if wanted.ndim == 4 else wanted
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 0.02


@pytest.mark.parametrize("resize", ["square", "short_side"])
@pytest.mark.parametrize("resize_to", [32, 40])
def test_every_record_survives_both_of_its_forms(resize: str, resize_to: int) -> None:
    wanted = ImagePreprocessing(32, resize, resize_to, 2, 1 / 127.5, (1.0, 0.9, 0.8), (0.5, 0.6, 0.7))
    assert ImagePreprocessing.from_dict(json.loads(json.dumps(wanted.to_dict()))) == wanted
    assert ImagePreprocessing.from_processor(json.loads(json.dumps(wanted.to_processor()))) == wanted


def test_switched_off_steps_change_nothing() -> None:
    found = ImagePreprocessing.from_processor({"size": 32, "do_rescale": False, "do_normalize": False})
    assert (found.scale, found.mean, found.std) == (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "record",
    [
        {"size": {"height": 32, "width": 64}},
        {"size": {"longest_edge": 32}},
        {"size": 0},
        {"size": 100_000},
        {"size": 32, "image_std": [0, 1, 1]},
        {"size": 32, "image_mean": [1]},
        {"size": "large"},
    ],
)
def test_records_that_make_no_sense_are_refused(record: dict[str, object]) -> None:
    with pytest.raises(EncoderLoadError):
        ImagePreprocessing.from_processor(record)


def test_unknown_fields_of_a_kept_record_are_refused() -> None:
    with pytest.raises(EncoderLoadError):
        ImagePreprocessing.from_dict({**ImagePreprocessing(32).to_dict(), "colour": "grey"})
    with pytest.raises(EncoderLoadError):
        TextPreprocessing.from_dict({"max_tokens": 3, "length": 4})


def test_text_settings_come_from_the_folder(tmp_path: Path) -> None:
    tiny_models.save_tokenizer(tmp_path, longest=48)
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 64, "pad_token_id": 9}))
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    found = TextPreprocessing.from_folder(tmp_path)
    assert (found.max_tokens, found.pad_id, found.lowercase) == (48, 0, False)
    assert found.prompts == {"query": "query: ", "document": "passage: "}
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": True}))
    found = TextPreprocessing.from_folder(tmp_path)
    assert (found.max_tokens, found.lowercase) == (32, True)
    assert TextPreprocessing.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_default_prompt_serves_both_sides() -> None:
    record = {"prompts": {"web": "search: "}, "default_prompt_name": "web"}
    assert TextPreprocessing.prompts_of(record) == {"query": "search: ", "document": "search: "}


def test_a_folder_without_a_fast_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match=r"tokenizer\.json"):
        TextPreprocessing.from_folder(tmp_path)


@pytest.mark.parametrize("max_tokens", [0, -1, 10**7])
def test_token_limits_are_bounded(max_tokens: int) -> None:
    with pytest.raises(EncoderLoadError):
        TextPreprocessing(max_tokens=max_tokens, tokenizer_sha256="")
