"""Decoding processes: what a decoder does to itself there reaches one row and nothing else."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from encoders import EncoderLoadError, InvalidInputError
from encoders.media.audio_preprocessing import AudioPreprocessing
from encoders.media.decoding import Recipe
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.sandbox import Sandbox
from encoders.media.video import VideoPreprocessing
from tests.media_files import film, sound

SOUNDS = Recipe("audio", AudioPreprocessing(16_000, 32_000).to_dict(), {})
FILMS = Recipe("video", VideoPreprocessing(2, ImagePreprocessing(16)).to_dict(), {})
PICTURES = Recipe("image", ImagePreprocessing(16).to_dict(), {})
SHORT = sound(seconds=0.1)


def children() -> set[int]:
    """Decoding processes of this one."""
    found = set()
    for process in psutil.Process().children():
        try:
            if "encoders.media.child" in process.cmdline():
                found.add(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    sandbox = Sandbox(SOUNDS)
    yield sandbox
    sandbox.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(SOUNDS)
    yield made
    made.close()


def test_rows_are_those_of_this_process(shared: Sandbox) -> None:
    for content in (SHORT, sound("flac", seconds=0.3, rate=44_100), sound("mp3", seconds=3.0)):
        np.testing.assert_array_equal(shared.decode(content)["wave"], SOUNDS.decoder()(content)["wave"])
    films = Sandbox(FILMS)
    try:
        np.testing.assert_array_equal(films.decode(film())["frames"], FILMS.decoder()(film())["frames"])
    finally:
        films.close()


def test_rows_of_pictures_are_those_of_this_process(picture: Callable[..., bytes]) -> None:
    pictures = Sandbox(PICTURES)
    try:
        for content in (picture("JPEG", (300, 200)), picture("PNG", mode="RGBA"), picture("TIFF")):
            found = pictures.decode(content)["pixels"]
            np.testing.assert_array_equal(found, PICTURES.decoder()(content)["pixels"])
        for content in (None, b"", "path", picture()[:60]):
            with pytest.raises(InvalidInputError) as here:
                PICTURES.decoder()(content)
            with pytest.raises(InvalidInputError) as there:
                pictures.decode(content)
            assert there.value.reason == here.value.reason
    finally:
        pictures.close()


@pytest.mark.parametrize("content", [None, 3, "path", b"", b"nothing", SHORT[:60], SHORT[:-600]])
def test_bad_inputs_have_the_reason_of_this_process(shared: Sandbox, content: Any) -> None:
    with pytest.raises(InvalidInputError) as here:
        SOUNDS.decoder()(content)
    with pytest.raises(InvalidInputError) as there:
        shared.decode(content)
    assert there.value.reason == here.value.reason
    assert shared.decode(SHORT)["wave"].shape == (1_600,)


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGSEGV, "crashed on it .SIGSEGV"), (signal.SIGKILL, "killed"),
                           (signal.SIGALRM, "took longer"), (signal.SIGPROF, "took longer")]
)  # fmt: skip
def test_a_decoder_that_dies_fails_its_row_and_the_next_one_is_decoded(
    sandbox: Sandbox, number: signal.Signals, reason: str
) -> None:
    before = children()
    sandbox.decode(SHORT)
    (pid,) = children() - before
    # Stopped, it cannot answer before it is killed in the middle of the work.
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(sandbox.decode, SHORT)
        time.sleep(0.2)
        assert not asked.done()
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(InvalidInputError, match=reason):
            asked.result(20)
    assert sandbox.decode(SHORT)["wave"].shape == (1_600,)
    assert len(children() - before) == 1


def test_a_process_that_died_while_it_waited_fails_nobody(sandbox: Sandbox) -> None:
    before = children()
    sandbox.decode(SHORT)
    (pid,) = children() - before
    process = psutil.Process(pid)
    process.kill()
    for _ in range(100):
        if process.status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.02)
    assert sandbox.decode(SHORT)["wave"].shape == (1_600,)


def test_a_decoder_that_never_ends_is_ended() -> None:
    sandbox = Sandbox(Recipe("audio", AudioPreprocessing(16_000, 600 * 16_000).to_dict(), {}), seconds=0.02)
    try:
        with pytest.raises(InvalidInputError, match="took longer"):
            sandbox.decode(sound("flac", np.zeros(600 * 44_100, np.float32), rate=44_100))
    finally:
        sandbox.close()


def test_time_in_which_it_does_not_work_is_not_counted() -> None:
    """A machine that is busy must not make another file of the same one."""
    sandbox = Sandbox(SOUNDS, seconds=0.5)
    before = children()
    try:
        first = sandbox.decode(SHORT)
        (pid,) = children() - before
        os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(sandbox.decode, SHORT)
            time.sleep(0.8)
            os.kill(pid, signal.SIGCONT)
            np.testing.assert_array_equal(asked.result(20)["wave"], first["wave"])
    finally:
        sandbox.close()


def test_memory_is_bounded() -> None:
    sandbox = Sandbox(Recipe("audio", AudioPreprocessing(16_000, 500 * 16_000).to_dict(), {}), memory=400 * 1024**2)
    try:
        assert sandbox.decode(SHORT)["wave"].shape == (1_600,)
        with pytest.raises(InvalidInputError, match=r"[Mm]emory"):
            sandbox.decode(sound("flac", np.zeros(500 * 96_000, np.int16), rate=96_000))
    finally:
        sandbox.close()


def test_several_threads_share_as_many_processes_as_were_allowed() -> None:
    before = children()
    sandbox = Sandbox(SOUNDS, processes=2)
    try:
        with ThreadPoolExecutor(6) as pool:
            assert {row["wave"].shape for row in pool.map(sandbox.decode, [SHORT] * 24)} == {(1_600,)}
        assert 1 <= len(children() - before) <= 2
    finally:
        sandbox.close()
    assert not children() - before


def test_an_owner_that_forgets_to_close_leaves_no_process() -> None:
    before = children()
    sandbox = Sandbox(SOUNDS)
    sandbox.decode(SHORT)
    assert children() - before
    del sandbox
    gc.collect()
    assert not children() - before


def test_an_owner_that_is_killed_leaves_no_process() -> None:
    program = (
        "import sys, time, psutil; from tests.unit.encoders.test_sandbox import SHORT, SOUNDS, Sandbox; "
        "sandbox = Sandbox(SOUNDS); sandbox.decode(SHORT); "
        "print(*[child.pid for child in psutil.Process().children()], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        owner.kill()
    assert pids
    for _ in range(200):
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"decoding processes {pids} outlive their owner")


def test_limits_that_are_unknown_are_refused_before_anything_is_decoded() -> None:
    with pytest.raises(EncoderLoadError, match="max_smell"):
        Recipe("audio", SOUNDS.preprocessing, {"max_smell": 3}).decoder()
    with pytest.raises(EncoderLoadError, match="max_smell"):
        Sandbox(Recipe("audio", SOUNDS.preprocessing, {"max_smell": 3})).decode(SHORT)


def test_a_large_input_is_refused_before_it_is_sent() -> None:
    before = children()
    sandbox = Sandbox(Recipe("audio", SOUNDS.preprocessing, {"max_bytes": 100}))
    with pytest.raises(InvalidInputError, match="over the limit of 100"):
        sandbox.decode(SHORT)
    assert children() == before


def test_the_environment_of_the_decoder_holds_no_secrets(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    before = children()
    sandbox.decode(SHORT)
    (pid,) = children() - before
    assert "AWS_SECRET_ACCESS_KEY" not in psutil.Process(pid).environ()


def test_modules_in_the_working_folder_are_not_taken_for_python_s_own(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("json", "signal", "av", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    sandbox.decode(SHORT)
