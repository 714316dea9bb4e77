"""Media that others are drawn towards, through an encoder that stays as it is."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connector.adaptation.media_rows import MediaRows
from connector.adaptation.others import Cells
from connector.adaptation.spec import PairSource
from connector.errors import TrainingError
from connector.ingest.batch import Batch

if TYPE_CHECKING:
    from encoders.base import Encoder

# Files held at once; each may be as large as the source allows.
FILES = 16


class LockedMedia:
    """Vectors of files, made while they are read, once for each distinct file (ImageBind: Girdhar et al., CVPR 2023).

    Args:
        encoder: closed along with it.
    """

    tower = None

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.dimension = encoder.contract.dimension
        self.space: tuple[str, ...] = (encoder.contract.hash, *encoder.contract.aligned_with)
        self.skipped: Counter[str] = Counter()
        self._found: dict[str, NDArray[np.float32] | str] = {}

    def find(self, source: PairSource, media: MediaRows, batch: Batch, cells: Cells) -> dict[int, list[str]]:
        """Row → the digest of its file, where that has a vector."""
        towards = source.towards
        if towards is None:
            raise TrainingError(f"{source.path}: no column to be drawn towards; name it as `towards`")
        files: dict[int, bytes] = {}
        digests: dict[int, list[str]] = {}

        def encode() -> None:
            for row, digest in zip(files, self._encoded(list(files.values())), strict=True):
                if isinstance(reason := self._found[digest], str):
                    self.skipped[f"{towards.what}: {reason}"[:160]] += 1
                else:
                    digests[row] = [digest]
            files.clear()

        for row, content in media.files(batch, range(len(cells)), towards.column):
            if isinstance(content, str):
                self.skipped[f"{towards.what}: {content}"[:160]] += 1
                continue
            files[row] = content
            if len(files) == FILES:
                encode()
        encode()
        return digests

    def _encoded(self, files: Sequence[bytes]) -> list[str]:
        """Their digests, once each of them has a vector or a reason."""
        digests = [hashlib.sha256(file).hexdigest() for file in files]
        new = {digest: file for digest, file in zip(digests, files, strict=True) if digest not in self._found}
        if new:
            result = self._encoder.encode_tolerant(list(new.values()))
            for place, digest in enumerate(new):
                self._found[digest] = result.errors.get(place) or result.vectors[place].copy()
        return digests

    def take(self, distinct: Sequence[str], device: torch.device, *, show: bool) -> None:
        """Get ready for the files of these digests, which have been read."""
        vectors = np.stack([found for digest in distinct if not isinstance(found := self._found[digest], str)])
        norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._vectors = torch.from_numpy(vectors / norms).to(device)
        self._found.clear()

    def vectors(self, numbers: Tensor) -> Tensor:
        """Numbers of files, int64 [n] → unit vectors float32 [n, dimension]."""
        return self._vectors[numbers.to(self._vectors.device)]

    def close(self) -> None:
        """Release the encoder."""
        self._encoder.close()
