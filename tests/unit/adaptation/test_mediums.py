"""Training media are decoded in a process of their own, whatever kind they are."""

from __future__ import annotations

import os
import signal
from contextlib import closing, suppress
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from connector.adaptation.mediums import FilmMedium, Medium, PictureMedium, SoundMedium
from connector.adaptation.sound_spec import SoundAugmentation
from connector.adaptation.spec import Augmentation
from encoders import InvalidInputError
from encoders.media import sandbox
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.video import VideoPreprocessing
from encoders.towers.audio import AudioTower
from tests.media_files import film, sound
from tests.unit.adaptation.conftest import picture

CPU = torch.device("cpu")
READERS = {"image": "PIL.Image.open", "audio": "soundfile.SoundFile", "video": "av.open"}


def drawn(kind: str) -> tuple[Medium, bytes]:
    """A medium and a file of it."""
    if kind == "audio":
        tower = AudioTower.small(8, widths=(4, 8), depths=(1, 1))
        return SoundMedium(tower, 0.64, SoundAugmentation(), CPU), sound(seconds=0.64)
    own, how = ImagePreprocessing(16), Augmentation()
    if kind == "video":
        return FilmMedium(VideoPreprocessing(2, own), how, CPU), film()
    return PictureMedium(own, how, CPU), picture("red", "left", np.random.default_rng(0))


def decoders() -> set[int]:
    """Decoding processes of this one."""
    found = set()
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "encoders.media.child" in process.cmdline():
                found.add(process.pid)
    return found


@pytest.mark.parametrize("kind", list(READERS))
def test_no_file_is_opened_in_the_training_process(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    medium, content = drawn(kind)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened in the training process")

    monkeypatch.setattr(READERS[kind], refuse)
    before = decoders()
    with closing(medium):
        row = medium.decode(content)
        assert (row.shape, row.dtype) == (medium.shape, np.dtype(medium.dtype))
        with pytest.raises(InvalidInputError):
            medium.decode(b"nothing of the kind")
        assert len(decoders() - before) == 1
    assert not decoders() - before


def test_a_file_that_kills_its_decoder_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    medium, content = drawn("image")
    before = decoders()
    with closing(medium):
        first = medium.decode(content)
        (pid,) = decoders() - before
        write = sandbox.write_message

        def kill_and_write(*message: Any) -> None:
            os.kill(pid, signal.SIGSEGV)
            write(*message)

        with monkeypatch.context() as patch:
            patch.setattr(sandbox, "write_message", kill_and_write)
            with pytest.raises(InvalidInputError, match=r"the decoder crashed on it .SIGSEGV"):
                medium.decode(content)
        np.testing.assert_array_equal(medium.decode(content), first)
