"""What holds for every job before its first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector.adaptation import ContrastiveSpec, pretrain
from connector.adaptation.media_rows import USABLE
from connector.adaptation.processes import Processes
from connector.errors import TrainingError


def test_processes_that_read_other_rows_are_told_so(
    make_spec: Callable[..., ContrastiveSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_the_main_process(_: Processes, value: Any) -> Any:
        return {**value, USABLE: "other rows"} if isinstance(value, dict) and USABLE in value else value

    monkeypatch.setattr(Processes, "agree", from_the_main_process)
    with pytest.raises(TrainingError, match="process 0 of 1: the list of usable rows is another here than in the main"):
        pretrain(make_spec(steps=1), show=False)
