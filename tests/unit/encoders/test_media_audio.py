from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import EncoderLoadError, InvalidInputError
from encoders.media.audio import AudioLimits, decode_sound, sound_inputs
from encoders.media.audio_preprocessing import AudioPreprocessing
from encoders.media.spectrogram import Spectrogram
from tests.media_files import SOUND_KINDS, film, sound, wave

LIMITS = AudioLimits()
WAVE = AudioPreprocessing(16_000, 16_000 * 4)
MEL = Spectrogram(window=400, hop=160, fft=512, mels=40, low=40.0, high=7600.0, drop_last=True)


def loudest(samples: np.ndarray, rate: int) -> float:
    """Frequency with the most power, Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize("kind", sorted(SOUND_KINDS))
@pytest.mark.parametrize(("native", "rate"), [(16_000, 16_000), (48_000, 16_000), (8_000, 48_000)])
def test_every_format_is_read_mixed_down_and_resampled(kind: str, native: int, rate: int) -> None:
    content = sound(kind, seconds=1.0, rate=native, channels=2)
    found = decode_sound(content, LIMITS, rate=rate, seconds=5)
    assert found.dtype == np.float32
    assert abs(len(found) - rate) <= rate // 16
    assert loudest(found, rate) == pytest.approx(440, abs=3)
    # Half of 0.5: the other channel is silent.
    assert np.abs(found[rate // 4 : rate // 2]).max() == pytest.approx(0.25, abs=0.04)


def test_pulse_code_is_read_exactly() -> None:
    given_samples = np.random.default_rng(0).integers(-30_000, 30_000, 5_000).astype(np.int16)
    found = decode_sound(sound("wav", given_samples), LIMITS, rate=16_000, seconds=5)
    np.testing.assert_array_equal((found * 32_768).astype(np.int16), given_samples)


def test_resampling_agrees_with_the_tone_itself() -> None:
    found = decode_sound(sound(rate=44_100, hertz=1_000), LIMITS, rate=16_000, seconds=5)
    wanted = wave(1_000, rate=16_000)[:, 0]
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found[400:-400], wanted[400:-400], atol=2e-3)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "vorbis"])
def test_only_the_start_that_is_wanted_is_decoded(kind: str) -> None:
    found = decode_sound(sound(kind, seconds=3.0), LIMITS, rate=16_000, seconds=0.5)
    assert 8_000 <= len(found) <= 10_000


def test_the_sound_of_a_film_is_heard() -> None:
    content = film(sound=wave(880, seconds=2.0)[:, 0])
    found = decode_sound(content, LIMITS, rate=16_000, seconds=5)
    assert loudest(found[:16_000], 16_000) == pytest.approx(880, abs=3)
    with pytest.raises(InvalidInputError, match="no sound"):
        decode_sound(film(), LIMITS, rate=16_000, seconds=5)


def adts(samples: np.ndarray) -> bytes:
    """AAC frames without a container, 16 kHz mono."""
    import av

    stream = io.BytesIO()
    with av.open(stream, mode="w", format="adts") as container:
        track: Any = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return stream.getvalue()


def id3(size: int, stated: int | None = None, *, footer: bool = False) -> bytes:
    """An ID3v2.4 tag of `size` zeros that says it holds `stated` bytes."""
    said = size if stated is None else stated
    rest = bytes([4, 0, 0x10 * footer, *(said >> shift & 0x7F for shift in (21, 14, 7, 0))])
    return b"ID3" + rest + bytes(size) + (b"3DI" + rest) * footer


@pytest.mark.parametrize(
    "tag", [id3(0), id3(200_000), id3(20) + id3(300), id3(30, footer=True)], ids=["empty", "long", "two", "footer"]
)
@pytest.mark.parametrize("kind", ["aac", "mp3", "flac"])
def test_a_tag_in_front_changes_nothing(kind: str, tag: bytes) -> None:
    content = adts(wave()[:, 0]) if kind == "aac" else sound(kind)
    wanted = decode_sound(content, LIMITS, rate=16_000, seconds=5)
    np.testing.assert_array_equal(decode_sound(tag + content, LIMITS, rate=16_000, seconds=5), wanted)


@pytest.mark.parametrize("content", [id3(0, 2**28 - 1), id3(50)[:30], b"ID3", id3(0) * 200_000])
def test_a_tag_that_says_too_much_is_refused(content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInputError, match="cannot be decoded"):
        decode_sound(content, LIMITS, rate=16_000, seconds=5)
    capfd.readouterr()


def wav_header(**changes: int) -> bytes:
    """A WAV of a tenth of a second whose header says something else."""
    fields = {"riff": 0, "format": 1, "channels": 1, "rate": 16_000, "data": 3_200, **changes}
    body = b"\x01\x02" * 1_600
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", fields["riff"], b"WAVE", b"fmt ", 16, fields["format"],
                       fields["channels"], fields["rate"], 32_000, 2, 16, b"data", fields["data"])  # fmt: skip
    return head + body


NOT_FINITE = np.array([0.0, np.nan, 0.5] * 100, np.float32)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "null"),
        ("clip.wav", "got str"),
        (7, "got int"),
        (b"", "empty"),
        (b"no sound at all", "cannot be decoded"),
        (b"RIFF\x00\x00\x00\x00WAVE", "cannot be decoded"),
        (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "cannot be decoded"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "cannot be decoded"),
        (wav_header(rate=0), "cannot be decoded|outside 1000"),
        (wav_header(rate=4_000_000_000), "cannot be decoded|outside 1000"),
        (wav_header(rate=999), "outside 1000"),
        (wav_header(channels=0), "cannot be decoded|outside 1"),
        (wav_header(channels=200), "outside 1|cannot be decoded"),
        (wav_header(riff=2**31), "ends early"),
        (wav_header(format=0xABCD), "cannot be decoded"),
        (sound("wav", np.zeros(0, np.float32)), "without samples"),
        (sound("flac", np.zeros(0, np.float32)), "empty sound"),
        (sound("wav float", NOT_FINITE), "not numbers"),
        (sound("wav float", NOT_FINITE[:1] + 1e9), "full scale"),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_what_cannot_be_heard_is_named(content: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        sound_inputs(content, WAVE, LIMITS)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_limits_are_heeded() -> None:
    content = sound(seconds=2.0, channels=2)
    for limits, reason in [
        (AudioLimits(max_bytes=100), "over the limit of 100"),
        (AudioLimits(max_seconds=1), "2 seconds is over"),
        (AudioLimits(max_channels=1), "2 channels"),
        (AudioLimits(max_rate=8_000), "16000 samples a second"),
    ]:
        with pytest.raises(InvalidInputError, match=reason):
            decode_sound(content, limits, rate=16_000, seconds=5)
    with pytest.raises(InvalidInputError, match="over the limit"):
        decode_sound(film(sound=wave(seconds=2.0)[:, 0]), AudioLimits(max_seconds=1), rate=16_000, seconds=5)


def test_a_header_that_claims_hours_costs_no_memory() -> None:
    content = bytearray(sound("flac", seconds=0.2))
    # STREAMINFO: the low 36 bits of bytes 18 to 26 are the number of samples.
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"
    with pytest.raises(InvalidInputError, match="over the limit"):
        decode_sound(bytes(content), LIMITS, rate=16_000, seconds=5)
    with pytest.raises(InvalidInputError, match=r"ends early|cannot be decoded"):
        decode_sound(bytes(content), AudioLimits(max_seconds=2**40), rate=16_000, seconds=5)


@pytest.mark.parametrize("kind", ["wav", "wav float", "rf64", "flac", "aiff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_files_are_refused(kind: str, share: float) -> None:
    content = sound(kind, seconds=2.0)
    with pytest.raises(InvalidInputError):
        decode_sound(content[: int(len(content) * share)], LIMITS, rate=16_000, seconds=5)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1.0])
def test_the_sound_of_a_cut_matroska_is_refused(share: float) -> None:
    content = film("mkv", frames=12, sound=wave(seconds=8.0)[:, 0])
    part = content[: int(len(content) * share)]
    if share == 1.0:
        assert len(decode_sound(part, LIMITS, rate=16_000, seconds=10)) / 16_000 == pytest.approx(8.0, abs=0.2)
    else:
        with pytest.raises(InvalidInputError, match=r"ends early \(.* of 8\.1 seconds"):
            decode_sound(part, LIMITS, rate=16_000, seconds=10)


@pytest.mark.parametrize("kind", ["mp3", "opus", "vorbis"])
def test_of_a_cut_stream_what_is_there_is_heard_or_it_is_refused(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = sound(kind, seconds=2.0)
    try:
        found = decode_sound(content[: int(len(content) * 0.6)], LIMITS, rate=16_000, seconds=5)
    except InvalidInputError:
        return
    finally:
        capfd.readouterr()
    assert 1_000 < len(found) < 28_000


def test_rows_have_the_shape_that_their_bucket_says() -> None:
    own = AudioPreprocessing(16_000, 64_000, multiple=4_000, mask=True)
    row = own.inputs(wave(seconds=0.6)[:, 0])
    assert (row["wave"].shape, row["mask"].sum()) == ((12_000,), 9_600)
    mel = AudioPreprocessing(16_000, 64_000, multiple=1_600, mask=True, spectrogram=MEL)
    row = mel.inputs(wave(seconds=0.42)[:, 0])
    assert (row["features"].shape, row["mask"].sum()) == ((50, 40), 42)
    assert mel.inputs(wave(seconds=9.0)[:, 0])["features"].shape == (400, 40)


@pytest.mark.parametrize(
    ("fill", "tail"), [("zero", 0.0), ("repeat", None), ("repeat_zero", 0.0)], ids=["zero", "repeat", "repeat_zero"]
)
def test_short_sounds_are_filled_up(fill: Any, tail: float | None) -> None:
    preprocessing = AudioPreprocessing(16_000, 10_000, fill=fill)
    samples = np.arange(1, 4_001, dtype=np.float32) / 4_000
    found = preprocessing.inputs(samples)["wave"]
    assert found.shape == (10_000,)
    np.testing.assert_array_equal(found[:4_000], samples)
    if fill != "zero":
        np.testing.assert_array_equal(found[4_000:8_000], samples)
    np.testing.assert_array_equal(found[8_000:], samples[:2_000] if tail is None else np.zeros(2_000))


@pytest.mark.parametrize(
    "changes",
    [{"fill": "mirror"}, {"sample_rate": 0}, {"max_samples": 0}, {"multiple": 0}, {"least": 10**9}, {"loud": 1},
     {"spectrogram": {"window": 3}}, {"spectrogram": {**MEL.__dict__, "scale": "bark"}},
     {"spectrogram": {**MEL.__dict__, "fft": 2**20, "window": 2**20}}],
)  # fmt: skip
def test_senseless_records_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EncoderLoadError) as caught:
        AudioPreprocessing.from_dict({**WAVE.to_dict(), **changes})
    assert "\n" not in str(caught.value)


def test_records_survive() -> None:
    for preprocessing in (WAVE, AudioPreprocessing(48_000, 480_000, fill="repeat", mask=True, spectrogram=MEL)):
        assert AudioPreprocessing.from_dict(preprocessing.to_dict()) == preprocessing


SEEDS = {kind: sound(kind, seconds=0.1) for kind in ("wav", "flac", "vorbis", "aiff")}


def test_a_chunk_that_sends_the_decoder_before_the_start() -> None:
    data = bytearray(SEEDS["aiff"])
    data[40] = 255
    with pytest.raises(InvalidInputError, match="cannot be decoded"):
        sound_inputs(bytes(data), WAVE, LIMITS)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(SEEDS)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    head=st.booleans(),
    cut=st.floats(0.1, 1),
)
def test_damaged_sounds_raise_nothing_else(kind: str, edits: list[tuple[float, int]], head: bool, cut: float) -> None:
    data = bytearray(SEEDS[kind])
    for place, value in edits:
        data[int(place * ((64 if head else len(data)) - 1))] = value
    for content in (bytes(data), bytes(data[: int(len(data) * cut)])):
        try:
            found = sound_inputs(content, WAVE, LIMITS)["wave"]
        except InvalidInputError as error:
            found, reason = None, error.reason
        sane = "\n" not in reason if found is None else np.isfinite(found).all() and len(found) <= WAVE.max_samples
        assert sane
