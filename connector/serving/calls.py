"""One call to Triton: which failures are worth another try, and what the others are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from connector.errors import ServerUnavailableError, ServingError

T = TypeVar("T")

# A queue that is full, and a worker that died or was held up and is being replaced, carry other codes but pass as
# quickly.
PASSING = (
    "exceeds maximum queue size",
    "is not healthy",
    "not at ready state",
    "failed to retrieve the response error",
    "unexpected inference output ''",
)
RETRIED = ("StatusCode.UNAVAILABLE", "StatusCode.RESOURCE_EXHAUSTED")
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0
JITTER_S = 0.25


class GarbledAnswerError(ServerUnavailableError):
    """An answer that is not whole, or not to what was asked: Triton gives some while a worker of it is replaced."""


def worth_retrying(error: BaseException) -> bool:
    """Whether the server was unreachable, overloaded or confused; never for a request that it refused."""
    from tritonclient.utils import InferenceServerException

    if isinstance(error, GarbledAnswerError):
        return True
    if not isinstance(error, InferenceServerException):
        return False
    text = (error.message() or "").lower()
    # A message over gRPC's size limit has the code of an overloaded server and would fail for ever.
    if "message larger than max" in text:
        return False
    return error.status() in RETRIED or any(phrase in text for phrase in PASSING)


def call(function: Callable[[], T], *, retries: int, where: str) -> T:
    """Call with exponential back-off and jitter.

    Raises:
        ServerUnavailableError: unreachable, overloaded or confused to the last try, or too slow.
        ServingError: the server refused the request.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter
    from tritonclient.utils import InferenceServerException

    pauses = wait_exponential_jitter(initial=FIRST_PAUSE_S, max=LONGEST_PAUSE_S, jitter=JITTER_S)
    attempts = Retrying(
        stop=stop_after_attempt(retries + 1), wait=pauses, retry=retry_if_exception(worth_retrying), reraise=True
    )
    try:
        return attempts(function)
    except InferenceServerException as error:
        raise translated(error, where) from error


def translated(error: Any, where: str) -> ServingError:
    """The connector's error for one of tritonclient's, in one line."""
    status = (error.status() or "").removeprefix("StatusCode.")
    text = " ".join((error.message() or "no reason given").split())[:400]
    if worth_retrying(error):
        return ServerUnavailableError(
            f"{where}: {text}; start the local stack by `connector up`, or check triton.url in connector.yaml"
        )
    if status == "DEADLINE_EXCEEDED":
        return ServerUnavailableError(f"{where}: no answer in time; raise triton.timeout_s or lower triton.batch_size")
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return ServingError(f"{where}: {status}: {text}; check triton.headers in connector.yaml")
    if "shared memory" in text.lower():
        return ServingError(f"{where}: {text}; give the server more /dev/shm or lower triton.batch_size")
    return ServingError(f"{where}: {status}: {text}")
