from __future__ import annotations

import pytest
import torch

from connector.adaptation.augment import YIQ, augment, colour_matrices
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
    colours = {"saturation": 0.8, "hue": 90, "grey": 0.3}
    how = Augmentation(crop=0.5, turn=20, erase=0.5, brightness=0.5, contrast=0.5, **colours)
    first, second, other = (augment(batch(), 12, how, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == (6, 3, 12, 12)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


def yiq(pictures: torch.Tensor) -> torch.Tensor:
    """Light and the two numbers of colour, [n, 3, H, W]."""
    return torch.einsum("ij,njhw->nihw", YIQ.float(), pictures)


def recoloured(pictures: torch.Tensor, seed: int = 1, **how: float) -> torch.Tensor:
    return augment(pictures, 16, NONE.model_copy(update=how), torch.Generator().manual_seed(seed))


def pale() -> torch.Tensor:
    """Many pictures whose colours may be turned and strengthened without leaving [0, 1]."""
    return (0.4 + 0.2 * batch()).repeat(20, 1, 1, 1)


def test_colours_of_strength_nothing_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = colour_matrices(5, NONE, torch.Generator().manual_seed(1))
    assert torch.allclose(matrices, torch.eye(3).expand(5, 3, 3), atol=1e-6)
    grey = pale().mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(recoloured(grey, saturation=1, hue=180, grey=0.5), grey, atol=1e-5)
    # And where they are not asked for, nothing is drawn for them: what is drawn after them stays the same.
    monkeypatch.setattr("connector.adaptation.augment.colour_matrices", None)
    recoloured(batch(), erase=0.5)


def test_hue_turns_colours_by_no_more_than_asked_and_keeps_their_light() -> None:
    before, after = (yiq(pictures) for pictures in (pale(), recoloured(pale(), hue=60)))
    assert torch.allclose(before[:, 0], after[:, 0], atol=1e-5)
    before, after = (torch.complex(colours[:, 1], colours[:, 2]) for colours in (before, after))
    assert torch.allclose(before.abs(), after.abs(), atol=1e-5)
    turned = torch.rad2deg(torch.angle((after * before.conj()).sum(dim=(1, 2))))
    assert -60 <= float(turned.min()) < -50
    assert 50 < float(turned.max()) <= 60


def test_saturation_scales_colours_and_keeps_their_hue_and_light() -> None:
    before, after = (yiq(pictures) for pictures in (pale(), recoloured(pale(), saturation=0.5)))
    assert torch.allclose(before[:, 0], after[:, 0], atol=1e-5)
    factors = (after[:, 1:] * before[:, 1:]).sum(dim=(1, 2, 3)) / before[:, 1:].square().sum(dim=(1, 2, 3))
    assert torch.allclose(after[:, 1:], before[:, 1:] * factors.view(-1, 1, 1, 1), atol=1e-5)
    assert 0.5 <= float(factors.min()) < 0.6
    assert 1.4 < float(factors.max()) <= 1.5


def test_grey_takes_all_colour_of_so_many() -> None:
    pictures = pale()
    result = recoloured(pictures, grey=0.3)
    gone = (result.amax(dim=1) - result.amin(dim=1)).amax(dim=(1, 2)) < 1e-5
    assert 20 < int(gone.sum()) < 52
    assert torch.allclose(result[gone][:, 0], yiq(pictures)[gone][:, 0], atol=1e-5)
    assert torch.allclose(result[~gone], pictures[~gone], atol=1e-5)


def test_frames_of_a_film_are_recoloured_alike() -> None:
    films = torch.rand(6, 4 * 3, 16, 16, generator=torch.Generator().manual_seed(2))
    how = {"saturation": 0.5, "hue": 90, "grey": 0.2}
    whole = recoloured(films, **how)
    for frame in range(4):
        part = slice(3 * frame, 3 * frame + 3)
        assert torch.allclose(whole[:, part], recoloured(films[:, part], **how), atol=1e-6)
