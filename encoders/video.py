"""The video encoder: frames evenly spread over the film, decoded in processes of their own."""

from __future__ import annotations

from typing import Any

from encoders.contract import EncoderContract
from encoders.folder import EncoderFolder
from encoders.media.decoding import Recipe
from encoders.media.sandbox import SECONDS, Sandbox
from encoders.media.video import VideoPreprocessing
from encoders.rows import Row, RowEncoder
from encoders.runtime import Runtime

CPU_FILMS, GPU_FILMS = 2, 16


class VideoEncoder(RowEncoder):
    """Encoded films (MP4, MKV, WebM, AVI, MPEG-TS, …) to vectors; their sound is not heard.

    The sound of a film is an input of an audio encoder: give it the same bytes.

    Args:
        contract: what the vectors are.
        preprocessing: which frames, and what happens to each.
        runtime: takes `frames`, uint8 [n, frames, H, W, 3].
        isolate: decode in processes of their own, so that no file can crash this one.
        seconds: that decoding one file may take, where isolated.
        limits: fields of `VideoLimits`.
    """

    def __init__(
        self,
        contract: EncoderContract,
        preprocessing: VideoPreprocessing,
        runtime: Runtime,
        *,
        isolate: bool = True,
        seconds: float = SECONDS,
        **limits: int,
    ) -> None:
        super().__init__(contract, runtime, cpu_rows=CPU_FILMS, gpu_rows=GPU_FILMS)
        recipe = Recipe("video", preprocessing.to_dict(), limits)
        self._decode = recipe.decoder()
        self._sandbox = Sandbox(recipe, processes=self._threads, seconds=seconds) if isolate else None

    @classmethod
    def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> VideoEncoder:
        """Open an encoder folder on a runtime; `options` as above."""
        return cls(folder.contract, VideoPreprocessing.from_dict(folder.preprocessing), runtime, **options)

    def prepare(self, item: Any) -> Row:
        """The bytes of a film → `frames`."""
        return self._sandbox.decode(item) if self._sandbox else self._decode(item)

    def close(self) -> None:
        """End the decoding processes and release the network."""
        super().close()
        if self._sandbox is not None:
            self._sandbox.close()
