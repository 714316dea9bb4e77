from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from connector.adaptation.processes import Processes, choose_device
from connector.errors import TrainingError


def test_a_process_that_ended_is_one_clear_line_of_the_others() -> None:
    def broken() -> None:
        raise RuntimeError("Connection closed by peer")

    processes = Processes()
    processes.wait()
    processes.count, processes._state = 2, SimpleNamespace(wait_for_everyone=broken)
    with pytest.raises(TrainingError, match=r"process 0 of 2: another process of this job ended while all waited"):
        processes.wait()


def test_memory_that_ran_out_is_no_lost_process() -> None:
    with pytest.raises(torch.OutOfMemoryError), Processes()._together("it was tried"):
        raise torch.OutOfMemoryError("too large")


def test_a_gpu_is_taken_also_after_a_job_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Processes().main
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("auto", "cuda"):
        assert choose_device(name) == torch.device("cuda", 0)
    assert choose_device("cpu") == torch.device("cpu")


def test_who_wants_the_cpu_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Processes().main
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    assert choose_device("auto") == torch.device("cpu")
