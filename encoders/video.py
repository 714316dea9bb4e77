"""The video encoder: frames evenly spread over the film, decoded in processes of their own."""

from __future__ import annotations

from encoders.media.video import VideoPreprocessing
from encoders.sandboxed import SandboxedEncoder


class VideoEncoder(SandboxedEncoder):
    """Encoded films (MP4, MKV, WebM, AVI, MPEG-TS, …) to vectors; their sound is not heard.

    The sound of a film is an input of an audio encoder: give it the same bytes. Its preprocessing says which frames,
    and what happens to each; its runtime takes `frames`, uint8 [n, frames, H, W, 3]; its limits are fields of
    `VideoLimits`.
    """

    medium = "video"
    preprocessing = VideoPreprocessing
    cpu_rows = 2
    gpu_rows = 16
