"""The image encoder: decoded and resized here, scaled and normalised inside the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract
from encoders.errors import InvalidInputError
from encoders.folder import EncoderFolder
from encoders.media.image import ImageLimits, pixels_of
from encoders.media.preprocessing import ImagePreprocessing
from encoders.runtime import Runtime, thread_count
from encoders.workers import Workers

CPU_PICTURES, GPU_PICTURES = 8, 64


class ImageEncoder(Encoder):
    """Encoded pictures (JPEG, PNG, WebP, GIF, BMP, TIFF) to vectors.

    Args:
        contract: what the vectors are.
        preprocessing: resize, crop, scale, normalise.
        runtime: takes `pixels`, uint8 [n, H, W, 3].
        limits: what is refused before it is decoded.
    """

    def __init__(
        self,
        contract: EncoderContract,
        preprocessing: ImagePreprocessing,
        runtime: Runtime,
        *,
        limits: ImageLimits | None = None,
    ) -> None:
        self._contract = contract
        self._preprocessing = preprocessing
        self._runtime = runtime
        self._limits = limits or ImageLimits()
        # Decoding is worth threads even where one run at a time fills the device.
        self._threads = max(runtime.workers, thread_count() if runtime.accelerated else 1)
        self._workers = Workers(self._threads)

    @classmethod
    def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> ImageEncoder:
        """Open an encoder folder on a runtime; `options` are fields of `ImageLimits`."""
        preprocessing = ImagePreprocessing.from_dict(folder.preprocessing)
        return cls(folder.contract, preprocessing, runtime, limits=ImageLimits(**options))

    @property
    def contract(self) -> EncoderContract:
        """What the vectors are."""
        return self._contract

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode picture files (`bytes`); bad rows are reported by index and never stop the others."""
        result = EncodeResult(np.zeros((len(items), self._contract.dimension), np.float32))

        def run(rows: range) -> None:
            pixels: list[NDArray[np.uint8]] = []
            good: list[int] = []
            for row in rows:
                try:
                    pixels.append(pixels_of(items[row], self._preprocessing, self._limits))
                    good.append(row)
                except InvalidInputError as error:
                    result.errors[row] = error.reason
            if good:
                result.vectors[good] = self._runtime.run({"pixels": np.stack(pixels)})

        most = GPU_PICTURES if self._runtime.accelerated else CPU_PICTURES
        size = max(1, min(most, -(-len(items) // self._threads)))
        self._workers.each(run, [range(start, min(start + size, len(items))) for start in range(0, len(items), size)])
        return result

    def close(self) -> None:
        """Release the network."""
        self._workers.close()
        self._runtime.close()
