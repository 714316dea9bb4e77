"""The universal sequence job: learn on one catalogue's content, go on with another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connector.adaptation.freezing import still_parts
from connector.adaptation.processes import choose_device
from connector.adaptation.semantic.content import made_by, read_content, require_distinct
from connector.adaptation.sequences.data import Histories, Windows, histories_of
from connector.adaptation.sequences.report import SequenceReport
from connector.adaptation.sequences.running import run, user_scorer
from connector.adaptation.universal.losses import changed_history_loss, next_content_loss
from connector.adaptation.universal.spec import SIZES, UniversalSequenceSpec
from connector.errors import ConfigurationError
from connector.evaluation.ranking import Scorer, evaluate
from connector.evaluation.splits import Split
from encoders.content_encoder import require_same_content
from encoders.contract import EncoderContract
from encoders.towers.adaptor import Adaptation
from encoders.towers.history import Shape
from encoders.towers.universal import UniversalTower

TITLE = "Universal sequences"
WHAT = (
    "A causal transformer over histories of content vectors, which a mixture of whitenings adapts (UniSRec: Hou et "
    "al., KDD 2022)."
)
USE = (
    "Load it with `encoders.load(folder)`: histories on the query side, items on the document side, each by id or by "
    "content vector; items never seen in training have vectors too."
)


def pretrain_universal(
    spec: UniversalSequenceSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> SequenceReport:
    """Run the job; write `spec.out/tower`, which `encoders.load` takes, and the items' vectors, `items.parquet`.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        CatalogueError: interactions or content that cannot be read.
        TrainingError: histories too few or too short, content that is all alike (without `ids`), or a loss that is not
            finite.
        ConfigurationError: `resume` finds a checkpoint of another spec, or `initial` does not fit.
        ContractMismatchError: `initial` was trained on vectors of another encoder than the one that `content` names.
        EncoderLoadError: `initial` cannot be loaded.
    """
    content = read_content(spec.content, show=show)
    if not spec.ids:
        require_distinct(spec.content, content.vectors)
    histories = histories_of(spec, content.ids)
    histories.skipped.update(content.skipped)
    rows = {item: row for row, item in enumerate(content.ids)}
    vectors = content.vectors[[rows[item] for item in histories.items]]
    torch.manual_seed(spec.seed)
    job = _Job(spec, histories, vectors, content.encoder)
    use = f"{USE} Content vectors: {made_by(content.encoder)}."
    return run(job, spec, histories, title=TITLE, what=WHAT, use=use, resume=resume, until=until, show=show)


def build_tower(
    spec: UniversalSequenceSpec,
    items: list[str],
    content: NDArray[np.float32],
    encoder: EncoderContract | None = None,
) -> UniversalTower:
    """A new tower, or that of `spec.initial` with another catalogue; its random parts come from torch's seed.

    Args:
        encoder: that made the content, where it is known; the tower's record will say so.

    Raises:
        EncoderLoadError: `initial` cannot be loaded.
        ConfigurationError: it is no universal tower, or one of other sizes.
        ContractMismatchError: it was trained on vectors of another encoder; names both.
    """
    tower = _tower(spec, items, content, encoder)
    tower.content_encoder = encoder
    return tower


def _tower(
    spec: UniversalSequenceSpec, items: list[str], content: NDArray[np.float32], encoder: EncoderContract | None
) -> UniversalTower:
    if spec.initial is None:
        shape = Shape(spec.hidden, spec.layers, spec.heads, spec.longest, spec.dropout)
        adaptation = Adaptation(content.shape[1], spec.experts, spec.dropout, spec.noisy)
        tower = UniversalTower(items, content, shape, adaptation, ids=spec.ids)
        tower.adaptor.centre(torch.from_numpy(content))
        return tower
    initial = _initial(spec, content.shape[1], encoder)
    shape = Shape(**{**vars(initial.shape), "dropout": spec.dropout})
    adaptation = Adaptation(content.shape[1], initial.adaptor.sizes.experts, spec.dropout, spec.noisy)
    tower = UniversalTower(items, content, shape, adaptation, ids=spec.ids)
    tower.adaptor.load_state_dict(initial.adaptor.state_dict())
    tower.history.load_state_dict(initial.history.state_dict())
    if spec.learn == "adaptor":
        tower.history.requires_grad_(False)
    return tower


def _initial(spec: UniversalSequenceSpec, content: int, encoder: EncoderContract | None) -> UniversalTower:
    from encoders.towers.sequence import SequenceTower

    folder = Path(str(spec.initial))
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder}: no such folder; initial names the tower folder of a universal_sequence job"
        )
    initial = SequenceTower.from_folder(folder)
    if not isinstance(initial, UniversalTower):
        raise ConfigurationError(f"{folder}: is not a tower of a universal_sequence job")
    own = {**{name: getattr(initial.shape, name) for name in SIZES}, "experts": initial.adaptor.sizes.experts}
    for name, value in own.items():
        if name in spec.model_fields_set and getattr(spec, name) != value:
            raise ConfigurationError(f"{folder}: has {name} {value}, the spec {getattr(spec, name)}; leave it out")
    require_same_content(initial.content_encoder, encoder, f"{folder} and {spec.content.path}")
    if initial.adaptor.sizes.content != content:
        raise ConfigurationError(
            f"{folder}: was trained on vectors of {initial.adaptor.sizes.content} numbers, {spec.content.path} holds "
            f"vectors of {content}; encode both catalogues by one encoder"
        )
    return initial


class _Job:
    """Batches, loss and evaluation of one run."""

    def __init__(
        self,
        spec: UniversalSequenceSpec,
        histories: Histories,
        content: NDArray[np.float32],
        encoder: EncoderContract | None,
    ) -> None:
        self._spec, self._histories = spec, histories
        self.device = choose_device(spec.device)
        self.tower = build_tower(spec, histories.items, content, encoder).to(self.device)
        self._still = still_parts(self.tower, keep_statistics=False)
        self._windows = Windows(histories.learned, self.tower.longest + 1, spec.batch_size, spec.seed)

    @property
    def module(self) -> nn.Module:
        """The tower: nothing else is learned."""
        return self.tower

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._windows.lap

    def loss_of(self, batch: int) -> Tensor:
        """Loss of batch number `batch`."""
        spec, tower = self._spec, self.tower
        # The loop puts all of the tower in training mode; a part that does not learn is used as it will be served.
        for part in self._still:
            part.eval()
        windows = torch.from_numpy(self._windows.batch(batch)).to(self.device)
        inputs, scale = windows[:, :-1], 1 / spec.temperature
        states = tower.states(inputs, tower.content[inputs])
        loss = next_content_loss(tower, states, windows, scale, spec.negatives == "all")
        if spec.contrast:
            generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + batch)
            loss = loss + spec.contrast * changed_history_loss(
                tower,
                states,
                windows,
                scale,
                item_drop=spec.item_drop,
                value_drop=spec.value_drop,
                generator=generator,
            )
        return loss

    def evaluate(self) -> dict[str, float]:
        """Full ranking of the validation part."""
        return evaluate(self.scorer(self._histories.validation), self._histories.validation).means()

    def scorer(self, split: Split) -> Scorer:
        """Scores from the training part of a split."""
        return user_scorer(self.tower, split.train)
