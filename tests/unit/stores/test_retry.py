"""Which failures of Milvus are tried again, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from connector.errors import StoreError, StoreUnavailableError
from connector.stores import retry
from connector.stores.connection import translated
from connector.stores.retry import Effort


class Failing:
    """Fails as it is told, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 0.02)


def away() -> StoreUnavailableError:
    return StoreUnavailableError("away")


def test_what_passes_is_tried_again() -> None:
    action = Failing(away(), away(), away())
    effort = Effort(10)
    assert effort.call(action) == "answer"
    assert (action.calls, effort.attempts) == (4, 4)


def test_a_refusal_is_not() -> None:
    action = Failing(StoreError("no"))
    with pytest.raises(StoreError, match=r"^no$"):
        Effort(10).call(action)
    assert action.calls == 1


def test_patience_ends_and_says_how_often_it_was_tried() -> None:
    action = Failing(*(away() for _ in range(1000)))
    with pytest.raises(StoreUnavailableError, match=r"^away; tried \d+ times in 0\.\d s$"):
        Effort(0.1).call(action)
    assert 2 < action.calls < 100
    with pytest.raises(StoreUnavailableError, match=r"tried once"):
        Effort(0).call(Failing(away()))


def test_progress_renews_patience() -> None:
    effort = Effort(0.1)
    calls = 0

    def action() -> str:
        nonlocal calls
        calls += 1
        if calls < 40:
            effort.progressed()
            raise away()
        return "answer"

    assert effort.call(action) == "answer"
    assert calls == 40


def milvus(code: Any, message: str = "no", **more: Any) -> Exception:
    from pymilvus.exceptions import MilvusException

    return MilvusException(code, message, **more)


PASS: dict[str, list[tuple[Any, str, dict[str, Any]]]] = {
    "asks to slow down": [(8, "", {}), (9, "", {}), (4, "", {}), (1, "x", {"compatible_code": 49})],
    "is not ready": [
        (101, "failed to search: collection not loaded[collection=1]", {}),
        (103, "", {}),
        (503, "", {}),
        (1, "service not ready[proxy=1]: Abnormal", {}),
        (1, "[load_collection] Retry timeout: 20s", {}),
        (1, "x", {"compatible_code": 46}),
        (65535, "x", {"retriable": True}),
    ],
    "does not answer": [(2, "Fail connecting to server on 127.0.0.1:1", {})],
}
REFUSALS = [(100, ""), (1, "field not found"), (1100, ""), (65535, ""), (700, "")]


@pytest.mark.parametrize(("what", "code", "message", "more"), [(what, *case) for what in PASS for case in PASS[what]])
def test_what_milvus_says_while_it_passes(what: str, code: int, message: str, more: dict[str, Any]) -> None:
    said = f"^Milvus {what} \\(write to items\\): "
    with pytest.raises(StoreUnavailableError, match=said) as raised, translated("write to items"):
        raise milvus(code, message, **more)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("code", "message"), REFUSALS)
def test_what_milvus_says_when_it_refuses(code: int, message: str) -> None:
    with pytest.raises(StoreError) as raised, translated("write to items"):
        raise milvus(code, message)
    assert not isinstance(raised.value, StoreUnavailableError)


def test_grpc_statuses() -> None:
    import grpc

    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        with pytest.raises(StoreUnavailableError, match="does not answer"), translated("read"):
            raise milvus(code)
    for code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT):
        with pytest.raises(StoreError) as raised, translated("read"):
            raise milvus(code)
        assert not isinstance(raised.value, StoreUnavailableError)
