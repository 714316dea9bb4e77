"""The default encoder of items of several modalities: the mean of the shipped encoders, as every fusion job starts."""

from __future__ import annotations

from pathlib import Path

from encoders.defaults import default_contract
from encoders.fused import MEMBER_MODALITIES
from encoders.towers.fused import FusedTower

CARD = """# The default encoder of items

A head over the shipped encoders of text, pictures, sounds and films that takes the mean of what an item has, in the
space of the text encoder: any subset of the four works, and words find any of them. Nothing of it is learned. It is the
state that every `fusion` job starts from where its members share a space, and the baseline (`plain mean`) that the
job's card compares with.

How well it does on photographs and words of shop products stands beside trained heads in docs/pretraining.md ("plain
mean"): they find new photos of known products far better. Train one on your own catalogue by `connector pretrain`, job
`fusion`, and over larger encoders.
"""


def write_default(target: Path) -> Path:
    """Write the tower folder; to be done again whenever a shipped encoder changes."""
    members = [default_contract(modality) for modality in MEMBER_MODALITIES]
    text = members[0]
    tower = FusedTower(
        members, head="gated", dimension=text.dimension, hidden=1, aligned_with=(text.hash, *text.aligned_with)
    )
    # The score of every gate is zero times these, so they would only make the file another one each time.
    for layer in (tower.head.get_submodule("content"), tower.head.get_submodule("gate")):
        for parameter in layer.parameters():
            parameter.data.zero_()
    return tower.save(target, dtype="float16", card=CARD)
