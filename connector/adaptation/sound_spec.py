"""What a contrastive job over sounds is told beside what every contrastive job is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from connector.adaptation.run_spec import Record

# Of a sound that a pretrained tower is trained on, where it was not told.
SECONDS = 4.0


class SoundAugmentation(Record):
    """Changes made to a training spectrogram that leave its words true.

    Attributes:
        loudness: largest change, dB either way.
        bands: largest shift along the frequencies, mel bands either way.
        mask: largest share of the frames, and of the bands, that is silenced (SpecAugment).
    """

    loudness: float = Field(10.0, ge=0, le=60)
    bands: int = Field(2, ge=0, le=16)
    mask: float = Field(0.15, ge=0, lt=1)


class NewAudioTower(Record):
    """A small convolutional network over log-mel frames that starts from nothing.

    Attributes:
        hidden_sizes: channels of each stage.
        depths: blocks of each stage.
        seconds: of each sound that are trained on; in use, up to ten are listened to.
    """

    kind: Literal["new_audio"]
    hidden_sizes: tuple[int, ...] = Field((24, 48, 96, 160), min_length=1)
    depths: tuple[int, ...] = Field((1, 1, 1, 1), min_length=1)
    seconds: float = Field(2.0, ge=0.32, le=9.92)
    augmentation: SoundAugmentation = SoundAugmentation()

    @model_validator(mode="after")
    def _stages(self) -> NewAudioTower:
        if len(self.hidden_sizes) != len(self.depths) or min(*self.hidden_sizes, *self.depths, 1) < 1:
            raise ValueError("hidden_sizes and depths must be of one length and hold positive numbers")
        return self
