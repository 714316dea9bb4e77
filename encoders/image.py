"""The image encoder: decoded and resized here, scaled and normalised inside the network."""

from __future__ import annotations

from typing import Any

from encoders.contract import EncoderContract
from encoders.folder import EncoderFolder
from encoders.media.image import ImageLimits, pixels_of
from encoders.media.preprocessing import ImagePreprocessing
from encoders.rows import Row, RowEncoder
from encoders.runtime import Runtime


class ImageEncoder(RowEncoder):
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
        super().__init__(contract, runtime)
        self._preprocessing = preprocessing
        self._limits = limits or ImageLimits()

    @classmethod
    def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> ImageEncoder:
        """Open an encoder folder on a runtime; `options` are fields of `ImageLimits`."""
        preprocessing = ImagePreprocessing.from_dict(folder.preprocessing)
        return cls(folder.contract, preprocessing, runtime, limits=ImageLimits(**options))

    def prepare(self, item: Any) -> Row:
        """The bytes of a picture → `pixels` uint8 [H, W, 3]."""
        return {"pixels": pixels_of(item, self._preprocessing, self._limits)}
