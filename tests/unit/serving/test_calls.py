from __future__ import annotations

from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from connector.errors import ServerUnavailableError, ServingError
from connector.serving import calls


def failure(status: str, message: str = "because") -> InferenceServerException:
    return InferenceServerException(msg=message, status=f"StatusCode.{status}")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(calls, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(calls, "JITTER_S", 0.0)


class Flaky:
    def __init__(self, *failures: Exception) -> None:
        self.failures, self.calls = list(failures), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


PASSING = [
    failure("UNAVAILABLE"),
    failure("RESOURCE_EXHAUSTED"),
    failure("INTERNAL", "Exceeds maximum queue size"),
    failure("INTERNAL", "Stub process 'text_0' is not healthy."),
    failure("INTERNAL", "Failed to retrieve the response error."),
    failure("INVALID_ARGUMENT", "unexpected inference output '' for model 'text'"),
    calls.GarbledAnswerError("here: its answer holds no vectors"),
]
LASTING = [
    failure("INVALID_ARGUMENT"),
    failure("INVALID_ARGUMENT", "unexpected inference output 'VECTOR' for model 'text'"),
    failure("INTERNAL"),
    failure("NOT_FOUND"),
    failure("UNIMPLEMENTED"),
    failure("UNAUTHENTICATED"),
    failure("DEADLINE_EXCEEDED"),
    failure("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)"),
    ValueError("not of the server"),
]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_passing_failures_are_tried_again(error: Exception) -> None:
    flaky = Flaky(error, error)
    assert calls.call(flaky, retries=2, where="here") == "done"
    assert flaky.calls == 3


@pytest.mark.parametrize("error", LASTING, ids=str)
def test_other_failures_are_not(error: Exception) -> None:
    flaky = Flaky(error)
    with pytest.raises((ServingError, ValueError)):
        calls.call(flaky, retries=5, where="here")
    assert flaky.calls == 1


@pytest.mark.parametrize("retries", [0, 3])
def test_tries_are_bounded(retries: int) -> None:
    flaky = Flaky(*[failure("UNAVAILABLE")] * 10)
    with pytest.raises(ServerUnavailableError, match=r"here: because; .*connector up"):
        calls.call(flaky, retries=retries, where="here")
    assert flaky.calls == retries + 1


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (failure("DEADLINE_EXCEEDED"), ServerUnavailableError, "timeout_s"),
        (failure("UNAUTHENTICATED"), ServingError, "triton.headers"),
        (failure("INTERNAL", "Failed to increase the shared memory pool size"), ServingError, "/dev/shm"),  # noqa: S108
        (failure("INVALID_ARGUMENT", "line one\nline two"), ServingError, "line one line two"),
    ],
)
def test_each_failure_has_one_line_and_a_remedy(error: Any, kind: type[Exception], text: str) -> None:
    translated = calls.translated(error, "here")
    assert type(translated) is kind
    assert text in str(translated)
    assert "\n" not in str(translated)
