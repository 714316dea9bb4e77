"""The folders that the jobs around semantic ids write: a record, weights whose hash it states, a card."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from connector.adaptation.report import figure_rows
from connector.adaptation.semantic.content import made_by
from connector.adaptation.semantic.spec import SemanticIdsSpec
from encoders.content_encoder import CONTENT_ENCODER, encoder_record, recorded_encoder, require_same_content
from encoders.errors import EncoderLoadError
from encoders.files import new_folder, write_bytes
from encoders.semantic.generator import SemanticIdModel
from encoders.semantic.quantiser import Codes, Quantiser
from encoders.semantic.recommender import Recommender
from encoders.semantic.trie import IdTrie
from encoders.sequence import ITEMS, read_items
from encoders.towers.history import Shape
from encoders.towers.saving import Precision, load_state, read_record, save_state, write_record
from encoders.towers.sequence import items_file
from encoders.weight_files import WEIGHTS_HASH, require_weights, weights_hash

if TYPE_CHECKING:
    from connector.adaptation.semantic.ids_job import SemanticIdsReport
    from encoders.contract import EncoderContract

WEIGHTS = "model.safetensors"
CODES = "codes.safetensors"
ITEMS_HASH = "items_sha256"


def save_module(module: nn.Module, folder: Path, record: dict[str, Any], dtype: Precision, card: str) -> None:
    """Write weights, `tower.json` and README.md, all or nothing."""
    with new_folder(folder) as filling:
        save_state(module, filling / WEIGHTS, dtype)
        write_record(filling, {**record, WEIGHTS_HASH: weights_hash(filling)}, card)


def save_quantiser(
    module: Quantiser,
    folder: Path,
    spec: SemanticIdsSpec,
    report: SemanticIdsReport,
    encoder: EncoderContract | None = None,
) -> None:
    """Write a quantiser and its card.

    Args:
        encoder: of the vectors it was trained on, where it is known.
    """
    card = f"""# Semantic ids

A residual-quantised autoencoder: {spec.levels} codes of {spec.size} for each item; a last one tells apart items whose
codes are the same. Load it with `connector.adaptation.semantic.saving.load_quantiser(folder)`.

## Trained on

`{Path(spec.content.path).name}`: {report.items} vectors ({made_by(encoder)}), {spec.validation:.0%} of them held out. \
{report.steps} steps of {spec.batch_size}, AdamW at {spec.learning_rate:g}, seed {spec.seed}; the state of step \
{report.best_step} was kept.{report.resumed}

## How well it does

Reconstruction is of the items held out, codes are of all.

| figure | value |
|---|---|
{figure_rows(report.metrics)}
"""
    record = {"modality": "quantiser", "codes": asdict(module.codes), **encoder_record(encoder)}
    save_module(module, folder, record, spec.weights, card)


def save_generator(
    recommender: Recommender, folder: Path, encoder: dict[str, Any] | None, dtype: Precision, card: str
) -> None:
    """Write a model that writes semantic ids, with all it takes to ask it: `items.json`, their codes, its beams.

    Args:
        encoder: contract of the encoder whose vectors the ids were made of, as JSON holds it; None: not known.
    """
    module, items = recommender.module, items_file(recommender.items)
    record = {
        "modality": "semantic_id",
        "shape": asdict(module.shape),
        "beams": recommender.beams,
        ITEMS_HASH: hashlib.sha256(items).hexdigest(),
        CONTENT_ENCODER: encoder,
    }
    with new_folder(folder) as filling:
        save_state(module, filling / WEIGHTS, dtype)
        save_file({"codes": module.trie.ids.cpu().int()}, filling / CODES)
        write_bytes(filling / ITEMS, items)
        write_record(filling, {**record, WEIGHTS_HASH: weights_hash(filling)}, card)


def load_quantiser(folder: Path, encoder: EncoderContract | None = None) -> Quantiser:
    """Read a quantiser's folder.

    Args:
        encoder: contract of the vectors that it is to be given, where it is known.

    Raises:
        EncoderLoadError: not one, pickled weights, or weights that are not what its record says.
        ContractMismatchError: it was trained on vectors of an encoder that shares no space with `encoder`.
    """
    require_weights(folder)
    record = read_record(folder)
    try:
        module = Quantiser(Codes(**record["codes"]))
    except (KeyError, TypeError) as error:
        raise EncoderLoadError(f"{folder}: tower.json is not that of a quantiser; train it again") from error
    require_same_content(recorded_encoder(record), encoder, str(folder))
    load_state(module, folder / WEIGHTS)
    return module.eval()


def load_generator(folder: str | Path) -> Recommender:
    """Read the folder of a model that writes semantic ids; `recommend` of the result asks it.

    Raises:
        EncoderLoadError: not one, pickled weights, or weights, codes or items that are not what its record says.
    """
    folder = Path(folder)
    require_weights(folder)
    record = read_record(folder)
    try:
        shape, beams, digest = Shape(**record["shape"]), int(record["beams"]), str(record[ITEMS_HASH])
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderLoadError(
            f"{folder}: tower.json is not that of a semantic id model with its ids; train it again"
        ) from error
    items = read_items(folder / ITEMS, digest)
    try:
        trie = IdTrie(load_file(folder / CODES)["codes"].long().numpy())
    except (OSError, KeyError, SafetensorError, EncoderLoadError) as error:
        text = " ".join(str(error).split())[:160]
        raise EncoderLoadError(f"{folder / CODES}: holds no semantic ids ({text}); train the model again") from error
    module = SemanticIdModel(trie, shape)
    load_state(module, folder / WEIGHTS)
    try:
        return Recommender(module, items, beams)
    except EncoderLoadError as error:
        raise EncoderLoadError(f"{folder}: {error}") from error
