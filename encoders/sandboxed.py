"""Encoders whose inputs are decoded in processes of their own, so that no file can crash the one that serves."""

from __future__ import annotations

from typing import Any, ClassVar

from encoders.contract import EncoderContract
from encoders.folder import EncoderFolder
from encoders.media.audio_preprocessing import AudioPreprocessing
from encoders.media.decoding import Kind, Recipe
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.sandbox import SECONDS, Sandbox
from encoders.media.video import VideoPreprocessing
from encoders.rows import Row, RowEncoder
from encoders.runtime import Runtime

Preprocessing = AudioPreprocessing | ImagePreprocessing | VideoPreprocessing


class SandboxedEncoder(RowEncoder):
    """Base of encoders of files that take a decoder written in C.

    Args:
        contract: what the vectors are.
        preprocessing: from a decoded file to a row of the network's inputs.
        runtime: takes rows stacked along a first axis.
        isolate: decode in processes of their own. Without it a third of a millisecond is saved for each file.
        seconds: of processor time that decoding one file may take, where isolated, and a quarter of what it may by
            the clock; default: 60, of a picture 20.
        limits: what is refused before it is decoded; fields of the medium's limits.
    """

    medium: ClassVar[Kind]
    preprocessing: ClassVar[type[AudioPreprocessing] | type[ImagePreprocessing] | type[VideoPreprocessing]]
    patience: ClassVar[float] = SECONDS
    cpu_rows: ClassVar[int] = 8
    gpu_rows: ClassVar[int] = 64

    def __init__(
        self,
        contract: EncoderContract,
        preprocessing: Preprocessing,
        runtime: Runtime,
        *,
        isolate: bool = True,
        seconds: float | None = None,
        **limits: int,
    ) -> None:
        super().__init__(contract, runtime, cpu_rows=self.cpu_rows, gpu_rows=self.gpu_rows)
        recipe = Recipe(self.medium, preprocessing.to_dict(), limits)
        self._decode = recipe.decoder()
        patience = self.patience if seconds is None else seconds
        self._sandbox = Sandbox(recipe, processes=self._threads, seconds=patience) if isolate else None

    @classmethod
    def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> SandboxedEncoder:
        """Open an encoder folder on a runtime; `options` as above."""
        return cls(folder.contract, cls.preprocessing.from_dict(folder.preprocessing), runtime, **options)

    def prepare(self, item: Any) -> Row:
        """The bytes of a file → one row of inputs."""
        return self._sandbox.decode(item) if self._sandbox else self._decode(item)

    def close(self) -> None:
        """End the decoding processes and release the network."""
        super().close()
        if self._sandbox is not None:
            self._sandbox.close()
