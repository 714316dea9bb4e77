from __future__ import annotations

import torch

from connector.adaptation.augment import augment
from connector.adaptation.spec import Augmentation

NONE = Augmentation(crop=1, flip=False, brightness=0, contrast=0)


def batch() -> torch.Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_nothing_asked_nothing_changed() -> None:
    result = augment(batch(), 16, NONE, torch.Generator().manual_seed(1))
    assert torch.allclose(result, batch(), atol=1e-5)


def test_flip_mirrors_about_half() -> None:
    pictures = batch().repeat(20, 1, 1, 1)
    how = NONE.model_copy(update={"flip": True})
    result = augment(pictures, 16, how, torch.Generator().manual_seed(1))
    mirrored = (result - pictures.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    kept = (result - pictures).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert bool((mirrored ^ kept).all())
    assert 40 < int(mirrored.sum()) < 80


def test_same_seed_same_pictures_in_range() -> None:
    how = Augmentation(crop=0.5, turn=20, erase=0.5, brightness=0.5, contrast=0.5)
    first, second, other = (augment(batch(), 12, how, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == (6, 3, 12, 12)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
