"""The audio encoder: decoded in processes of their own, resampled, turned into what the network takes."""

from __future__ import annotations

from encoders.media.audio_preprocessing import AudioPreprocessing
from encoders.sandboxed import SandboxedEncoder


class AudioEncoder(SandboxedEncoder):
    """Encoded sounds (WAV, FLAC, OGG, MP3, AIFF, AAC, Opus, the sound of a film, …) to vectors.

    Its preprocessing resamples, fills up and may take a spectrogram; its runtime takes `wave` float32 [n, samples] or
    `features` float32 [n, frames, mels], and `mask` int64 where the preprocessing gives one; its limits are fields of
    `AudioLimits`.
    """

    medium = "audio"
    preprocessing = AudioPreprocessing
