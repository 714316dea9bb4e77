"""From encoded bytes to one row of a network's inputs, by kind of media: what a decoding process is told to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from encoders.errors import EncoderLoadError

Kind = Literal["audio", "image", "video", "wave"]
Row = dict[str, NDArray[Any]]
Decode = Callable[[Any], Row]
NEEDED = {"audio": "soundfile av soxr", "image": "pillow", "video": "av", "wave": "soundfile av soxr"}


@dataclass(frozen=True)
class Recipe:
    """All that decoding needs to know, in a form that travels to another process.

    Attributes:
        kind: of media; `wave` leaves a sound's samples as they are.
        preprocessing: its record, as it stands in the contract's hash; of `wave`, the `rate` (samples a second) and the
            `seconds` that are kept.
        limits: fields of the kind's limits.
    """

    kind: Kind
    preprocessing: Mapping[str, Any]
    limits: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    def decoder(self) -> Decode:
        """The function that decodes one input in this process; it raises InvalidInputError.

        Raises:
            EncoderLoadError: a library that it needs is not installed, or a limit is unknown.
        """
        try:
            return {"audio": _audio, "image": _image, "video": _video, "wave": _wave}[self.kind](self)
        except ImportError as error:
            raise EncoderLoadError(
                f"{self.kind} cannot be decoded here ({error}); pip install {NEEDED[self.kind]}"
            ) from error
        except TypeError as error:
            raise EncoderLoadError(f"{self.kind} encoder: unknown option ({error})") from error


def _audio(recipe: Recipe) -> Decode:
    import av  # noqa: F401 - found missing here rather than at the first file
    import soundfile  # noqa: F401
    import soxr  # noqa: F401

    from encoders.media.audio import AudioLimits, sound_inputs
    from encoders.media.audio_preprocessing import AudioPreprocessing

    preprocessing, limits = AudioPreprocessing.from_dict(recipe.preprocessing), AudioLimits(**recipe.limits)
    return lambda content: sound_inputs(content, preprocessing, limits)


def _wave(recipe: Recipe) -> Decode:
    import av  # noqa: F401
    import soundfile  # noqa: F401
    import soxr  # noqa: F401

    from encoders.media.audio import AudioLimits, decode_sound

    rate, seconds, limits = recipe.preprocessing["rate"], recipe.preprocessing["seconds"], AudioLimits(**recipe.limits)
    return lambda content: {"wave": decode_sound(content, limits, rate=rate, seconds=seconds)}


def _image(recipe: Recipe) -> Decode:
    from encoders.media.image import ImageLimits, pixels_of
    from encoders.media.preprocessing import ImagePreprocessing

    preprocessing, limits = ImagePreprocessing.from_dict(recipe.preprocessing), ImageLimits(**recipe.limits)
    return lambda content: {"pixels": pixels_of(content, preprocessing, limits)}


def _video(recipe: Recipe) -> Decode:
    import av  # noqa: F401

    from encoders.media.video import VideoLimits, VideoPreprocessing, film_inputs

    preprocessing, limits = VideoPreprocessing.from_dict(recipe.preprocessing), VideoLimits(**recipe.limits)
    return lambda content: film_inputs(content, preprocessing, limits)
