"""The image encoder: decoded and resized in processes of their own, scaled and normalised inside the network."""

from __future__ import annotations

from encoders.media.preprocessing import ImagePreprocessing
from encoders.sandboxed import SandboxedEncoder


class ImageEncoder(SandboxedEncoder):
    """Encoded pictures (JPEG, PNG, WebP, GIF, BMP, TIFF) to vectors.

    The runtime takes `pixels`, uint8 [n, H, W, 3]; limits are the fields of `encoders.media.image.ImageLimits`.
    """

    medium = "image"
    preprocessing = ImagePreprocessing
    # The largest picture within the limits takes a few; what takes longer was made to.
    patience = 20.0
