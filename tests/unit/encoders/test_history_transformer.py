from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.towers.history import HistoryTransformer, Shape

ROWS, LENGTH = 6, 9


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("first_norm", [True, False])
def test_the_newest_state_is_the_last_of_all(layers: int, causal: bool, first_norm: bool) -> None:
    torch.manual_seed(0)
    shape = Shape(hidden=16, layers=layers, heads=4, longest=12, causal=causal, first_norm=first_norm)
    model = HistoryTransformer(shape).eval()
    steps = torch.randn(ROWS, LENGTH, 16)
    there = torch.arange(LENGTH) >= torch.tensor([0, 1, 4, 7, 8, 9])[:, None]
    with torch.inference_mode():
        newest, states = model.newest(steps, there), model(steps, there)
    assert newest.shape == (ROWS, 16)
    # The last history is padding alone: no numbers that are not, whatever it says.
    assert torch.isfinite(newest).all()
    np.testing.assert_allclose(newest[:-1], states[:-1, -1], atol=1e-6)


def test_what_is_learned_by_the_newest_state_is_what_all_states_would_learn() -> None:
    torch.manual_seed(0)
    model = HistoryTransformer(Shape(hidden=16, layers=2, heads=2, longest=LENGTH, dropout=0.0))
    steps, there = torch.randn(ROWS, LENGTH, 16), torch.ones(ROWS, LENGTH, dtype=torch.bool)
    gradients = []
    for state in (model.newest(steps, there), model(steps, there)[:, -1]):
        model.zero_grad()
        state.square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)
