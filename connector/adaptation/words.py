"""The words' side of a contrastive job: vectors that stay as they are, or a text tower that learns along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from connector.adaptation.bar import TrainingBar
from connector.adaptation.freezing import freeze, still_parts
from connector.adaptation.locked_media import LockedMedia
from connector.adaptation.spec import ContrastiveSpec, FreeText
from connector.errors import ConfigurationError, TrainingError

if TYPE_CHECKING:
    from encoders.base import Encoder
    from encoders.source import Source
    from encoders.towers.text import TextTower

ROWS = 256
# Folder of the text encoder that learned along, in `out`.
TEXT = "text"


class Words(Protocol):
    """Vectors of a job's distinct words, or of whatever else stands in their place.

    Attributes:
        dimension: of a vector.
        space: names of the space they lie in; none while it is still to be learned.
    """

    dimension: int
    space: tuple[str, ...]

    @property
    def tower(self) -> nn.Module | None:
        """What learns; None where nothing does."""

    def take(self, texts: Sequence[str], device: torch.device, *, show: bool) -> None:
        """Get ready for these words, in their numbers' order.

        Raises:
            TrainingError: one that the encoder cannot use.
        """

    def vectors(self, numbers: Tensor) -> Tensor:
        """Numbers of words, int64 [n] → unit vectors float32 [n, dimension] on the job's device."""

    def close(self) -> None:
        """Release what making them needed; the vectors stay."""


def open_words(spec: ContrastiveSpec) -> Words:
    """The words' side that a spec describes.

    Raises:
        ConfigurationError: `free_text` with an exported encoder, whose graph cannot be trained.
        TrainingError: `free_text` with what it cannot train, or patterns that name nothing.
        EncoderLoadError: an encoder that cannot be loaded, or that encodes something else.
    """
    import encoders
    from encoders.folder import is_encoder_folder
    from encoders.source import resolve

    if spec.towards is not None:
        return LockedMedia(encoders.load(spec.other_encoder, modality=spec.towards))
    if spec.free_text is None:
        return LockedWords(encoders.load(spec.text_encoder, modality="text"))
    source = resolve(spec.text_encoder, "text")
    if is_encoder_folder(source.path):
        raise ConfigurationError(
            f"free_text: {spec.text_encoder} is an exported encoder, whose graph cannot be trained; name the model "
            "folder or the Hugging Face id it was exported from as text_encoder"
        )
    _require_place(Path(spec.out) / TEXT, source.path)
    return FreeWords(source, spec.free_text)


class LockedWords:
    """Vectors that are made once, by an encoder that stays as it is (LiT: Zhai et al., CVPR 2022).

    Args:
        encoder: closed along with it.
    """

    tower = None

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.dimension = encoder.contract.dimension
        self.space: tuple[str, ...] = (encoder.contract.hash, *encoder.contract.aligned_with)

    def take(self, texts: Sequence[str], device: torch.device, *, show: bool) -> None:
        """Encode them; raises TrainingError for one that cannot be."""
        parts = []
        with TrainingBar("encoding words", len(texts), show=show) as bar:
            for start in range(0, len(texts), ROWS):
                result = self._encoder.encode_tolerant(texts[start : start + ROWS])
                _require_usable(texts[start : start + ROWS], result.errors)
                parts.append(result.vectors)
                bar.advance(len(parts[-1]))
        vectors = np.concatenate(parts)
        norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._vectors = torch.from_numpy(np.asarray(vectors / norms, np.float32)).to(device)

    def vectors(self, numbers: Tensor) -> Tensor:
        """Numbers of words, int64 [n] → unit vectors float32 [n, dimension]."""
        return self._vectors[numbers.to(self._vectors.device)]

    def close(self) -> None:
        """Release the encoder."""
        self._encoder.close()


class FreeWords:
    """Words through a text tower that is trained along (CLIP: Radford et al., ICML 2021).

    Raises:
        TrainingError: patterns that name nothing, or a tower that cannot be saved by itself.
        EncoderLoadError: a source that cannot be loaded.
    """

    space: tuple[str, ...] = ()

    def __init__(self, source: Source, how: FreeText) -> None:
        from encoders.media.tokens import TextTokenizer, load_tokenizer
        from encoders.towers.text import TextTower

        tower = TextTower.from_folder(source.path)
        if not hasattr(tower.backbone, "save_pretrained"):
            raise TrainingError(f"free_text: the text half of {source.label} cannot be trained alone; leave it out")
        if tower.pooling not in {"pooler", "projection"} and isinstance(
            unused := getattr(tower.backbone, "pooler", None), nn.Module
        ):
            # It is random where the folder lacks it, and the weights' hash would be another every time.
            for parameter in unused.parameters():
                nn.init.zeros_(parameter.requires_grad_(False))
        freeze(tower, how.freeze, where="free_text.freeze")
        tower.normalize, tower.aligned_with = True, ()
        self.tower: TextTower = tower
        self._ids: list[list[int]] = []
        self.dimension = tower.describe().dimension
        self._still = still_parts(tower, keep_statistics=False)
        self._tokenizer = TextTokenizer(tower.preprocessing, load_tokenizer(tower.tokenizer))

    def take(self, texts: Sequence[str], device: torch.device, *, show: bool) -> None:
        """Tokenise them; raises TrainingError for one that cannot be."""
        self._ids, self._device = [], device
        with TrainingBar("reading words", len(texts), show=show) as bar:
            for start in range(0, len(texts), ROWS):
                part = texts[start : start + ROWS]
                found = self._tokenizer.tokens(part)
                _require_usable(part, found.errors)
                self._ids += found.ids
                bar.advance(len(part))

    def vectors(self, numbers: Tensor) -> Tensor:
        """Numbers of words, int64 [n] → unit vectors float32 [n, dimension]; what comes twice is computed once."""
        for part in self._still:
            part.eval()
        distinct, places = torch.unique(numbers.cpu(), return_inverse=True)
        parts = [distinct] if torch.is_grad_enabled() else distinct.split(ROWS)
        # Plain indexing adds its gradients up in any order on the CPU, and a resumed job would end otherwise.
        return torch.cat([self._run(part) for part in parts]).index_select(0, places.to(self._device))

    def save(self, folder: Path, precision: Literal["float16", "float32"], card: str) -> tuple[str, ...]:
        """Write the tower's folder and give the names of the space that it spans now."""
        from encoders.exporting import contract_of
        from encoders.source import resolve

        self.tower.cpu().eval().save(folder, dtype=precision, card=card)
        return contract_of(resolve(folder, "text"), self.tower, folder.name, 1).aligned_with

    def close(self) -> None:
        """Nothing is held."""

    def _run(self, numbers: Tensor) -> Tensor:
        padded = self._tokenizer.padded([self._ids[number] for number in numbers.tolist()])
        vectors: Tensor = self.tower(*(torch.from_numpy(values).to(self._device) for values in padded.values()))
        return vectors


def _require_place(folder: Path, source: Path) -> None:
    if folder.is_dir() and folder.resolve() == source.resolve():
        raise ConfigurationError(f"out: the text encoder would replace the one it begins with ({folder}); name another")
    if folder.exists() and not (folder / "tower.json").is_file():
        raise ConfigurationError(f"out: {folder} is there already and holds no text encoder of this job; name another")


def _require_usable(texts: Sequence[str], errors: Mapping[int, str]) -> None:
    if errors:
        first = min(errors)
        raise TrainingError(
            f"words {texts[first][:80]!r}: {errors[first]}; leave such rows out, or give them other words"
        )
