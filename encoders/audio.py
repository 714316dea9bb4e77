"""The audio encoder: decoded in processes of their own, resampled, turned into what the network takes."""

from __future__ import annotations

from typing import Any

from encoders.contract import EncoderContract
from encoders.folder import EncoderFolder
from encoders.media.audio_preprocessing import AudioPreprocessing
from encoders.media.decoding import Recipe
from encoders.media.sandbox import SECONDS, Sandbox
from encoders.rows import Row, RowEncoder
from encoders.runtime import Runtime


class AudioEncoder(RowEncoder):
    """Encoded sounds (WAV, FLAC, OGG, MP3, AIFF, AAC, Opus, the sound of a film, …) to vectors.

    Args:
        contract: what the vectors are.
        preprocessing: resampling, filling up, spectrogram.
        runtime: takes `wave` float32 [n, samples] or `features` float32 [n, frames, mels], and `mask` int64 where the
            preprocessing gives one.
        isolate: decode in processes of their own, so that no file can crash this one. Without it a third of a
            millisecond is saved for each sound.
        seconds: that decoding one file may take, where isolated.
        limits: fields of `AudioLimits`.
    """

    def __init__(
        self,
        contract: EncoderContract,
        preprocessing: AudioPreprocessing,
        runtime: Runtime,
        *,
        isolate: bool = True,
        seconds: float = SECONDS,
        **limits: int,
    ) -> None:
        super().__init__(contract, runtime)
        recipe = Recipe("audio", preprocessing.to_dict(), limits)
        self._decode = recipe.decoder()
        self._sandbox = Sandbox(recipe, processes=self._threads, seconds=seconds) if isolate else None

    @classmethod
    def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> AudioEncoder:
        """Open an encoder folder on a runtime; `options` as above."""
        return cls(folder.contract, AudioPreprocessing.from_dict(folder.preprocessing), runtime, **options)

    def prepare(self, item: Any) -> Row:
        """The bytes of a sound file → `wave` or `features`, and `mask`."""
        return self._sandbox.decode(item) if self._sandbox else self._decode(item)

    def close(self) -> None:
        """End the decoding processes and release the network."""
        super().close()
        if self._sandbox is not None:
            self._sandbox.close()
