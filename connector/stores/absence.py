"""Which failures of Milvus pass by themselves: no answer, a server that is not ready, one that asks to slow down."""

from __future__ import annotations

BUSY = frozenset({4, 8, 9})
"""Too many requests, a rate limit, a quota that is used up."""
NOT_READY = frozenset({2, 101, 103, 400, 401, 500, 501, 503, 600, 601, 901, 902, 903, 904, 905})
"""A service, a loaded collection, a replica, channel, segment or node that is not there yet, or is being moved."""
OLD_BUSY = frozenset({"RateLimit", "ForceDeny", "MemoryQuotaExhausted", "DiskQuotaExhausted", "TimeTickLongDelay"})
OLD_NOT_READY = frozenset({"NotReadyServe", "NotReadyCoordActivating", "NotShardLeader", "NoReplicaAvailable"})
UNEXPECTED = 1
"""Code of everything that a server has no word for, and of `service not ready`."""
PHRASES = ("service not ready", "not ready yet", "is not healthy", "retry timeout", "not fully loaded")


def passing(error: BaseException) -> str:
    """What Milvus does, in a few words, where another try may succeed; empty for a refusal."""
    import grpc
    from pymilvus.exceptions import ConnectError, ConnectionNotExistException, MilvusUnavailableException

    if isinstance(error, ConnectError | ConnectionNotExistException | MilvusUnavailableException):
        return "does not answer"
    code = error.code() if isinstance(error, grpc.RpcError) else getattr(error, "code", None)
    if isinstance(code, grpc.StatusCode):
        silent = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
        return "does not answer" if code in silent else ""
    old = _old_name(getattr(error, "compatible_code", UNEXPECTED))
    if code in BUSY or old in OLD_BUSY:
        return "asks to slow down"
    text = one_line(error)
    if text.startswith("Fail connecting"):
        return "does not answer"
    known = code in NOT_READY or old in OLD_NOT_READY or bool(getattr(error, "retriable", False))
    if known or (code == UNEXPECTED and any(phrase in text.lower() for phrase in PHRASES)):
        return "is not ready"
    return ""


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks, at most 300 characters."""
    import grpc

    text = str(getattr(error, "message", "") or error)
    if isinstance(error, grpc.Call):
        text = f"{error.code()}: {error.details()}"
    return " ".join(text.split())[:300] or type(error).__name__


def _old_name(code: object) -> str:
    """Name of an error code as servers before 2.3 gave it."""
    from pymilvus.grpc_gen import common_pb2

    try:
        return str(common_pb2.ErrorCode.Name(code))
    except (ValueError, TypeError):
        return ""
