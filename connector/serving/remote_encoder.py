"""An encoder on a Triton server: batches, several requests under way, order kept, bad rows reported by position."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.config import TritonSettings
from connector.errors import ContractMismatchError
from connector.serving.calls import GarbledAnswerError, call
from connector.serving.ensemble import served_model
from connector.serving.payloads import Payloads, batches, prepare
from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract
from encoders.wire import joined_checks, row_checks

# Encoded with inputs of like length.
RAGGED = ("text", "sequence")

GARBLED = "its answer {}, as when its worker was held up or died; restart the local stack by `connector up`"

Answer = tuple[NDArray[np.float32], NDArray[np.object_]]


class TritonEncoder(Encoder):
    """One version of one encoder on a Triton server; made by `TritonClient.encoder`.

    A request holds `settings.batch_size` inputs, or fewer where the model takes no more (`max_batch`). An answer must
    be whole, and say that it is the answer to these very inputs (`checked`: the model's configuration has it so).
    At most `settings.in_flight` requests are under way, over all threads that use it. A request that fails because the
    server is unreachable or overloaded is sent again, `settings.retries` times; a server that restarts is waited for.

    Raises on encode:
        ServerUnavailableError: the server stayed away, or took longer than `settings.timeout_s` for a request.
        ServingError: the server refused a request.
    """

    def __init__(
        self,
        client: Any,
        contract: EncoderContract,
        url: str,
        settings: TritonSettings,
        max_batch: int,
        checked: bool,
    ) -> None:
        self._client, self._contract, self._url, self._settings = client, contract, url, settings
        self._checked = checked
        self._batch_size = max(1, min(settings.batch_size, max_batch))
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    @property
    def contract(self) -> EncoderContract:
        """What the vectors are, as agreed with the server."""
        return self._contract

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode `items` on the server; see `Encoder`."""
        payloads = self._payloads(items)
        result = EncodeResult(np.zeros((len(items), self._contract.dimension), np.float32), dict(payloads.errors))
        requests = batches(payloads, self._batch_size, by_length=self._contract.modality in RAGGED)
        contents = [[payloads.items[position] for position in request] for request in requests]
        for positions, (vectors, reasons) in zip(requests, self._answers(contents, side), strict=True):
            result.vectors[positions] = vectors
            for position, reason in zip(positions, reasons, strict=True):
                if reason:
                    result.errors[position] = reason.decode("utf-8", "replace")
        return result

    def close(self) -> None:
        """Let go of the threads; the connection belongs to the client."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)

    def _payloads(self, items: Sequence[Any]) -> Payloads:
        return prepare(items, self._contract.modality)

    def _columns(self, content: list[bytes]) -> dict[str, list[bytes]]:
        """Inputs of the model, by name."""
        return {"INPUT": content}

    def _answers(self, contents: list[list[bytes]], side: Side) -> list[Answer]:
        if len(contents) <= 1:
            return [self._infer(content, side) for content in contents]
        executor = self._threads()
        futures: list[Future[Answer]] = [executor.submit(self._infer, content, side) for content in contents]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((future for future in futures if future.done() and future.exception()), None)
            return [failed.result()] if failed else [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _infer(self, content: list[bytes], side: Side) -> Answer:
        where = f"Triton at {self._url}, model {self._contract.name}/{self._contract.version}"
        return call(lambda: self._request(content, side, where), retries=self._settings.retries, where=where)

    def _request(self, content: list[bytes], side: Side, where: str) -> Answer:
        from tritonclient.grpc import InferInput

        count, columns = len(content), self._columns(content)
        inputs = []
        for name, cells in columns.items():
            raw = InferInput(name, [count, 1], "BYTES")
            raw.set_data_from_numpy(np.array(cells, dtype=np.object_).reshape(-1, 1))
            inputs.append(raw)
        if side == "query":
            query = InferInput("QUERY", [count, 1], "BOOL")
            query.set_data_from_numpy(np.ones((count, 1), np.bool_))
            inputs.append(query)
        model, version = served_model(self._contract)
        answer = self._client.infer(
            model,
            inputs,
            model_version=str(version),
            headers=self._settings.headers or None,
            client_timeout=self._settings.timeout_s,
        )
        vectors, reasons, checks = outputs(answer, where)
        if vectors.shape[1:] != (self._contract.dimension,):
            # The server was replaced by another while we were connected.
            raise ContractMismatchError(
                f"{where}: {count} inputs gave vectors of shape {vectors.shape} where {self._contract.label} "
                f"promises {self._contract.dimension} dimensions"
            )
        if self._checked:
            wanted = joined_checks([row_checks(cells, side == "query") for cells in columns.values()])
            if checks is None or not np.array_equal(checks.reshape(-1), wanted):
                raise GarbledAnswerError(f"{where}: {GARBLED.format('is not to what was asked')}")
        if len(vectors) != count or reasons.size != count:
            raise GarbledAnswerError(f"{where}: {GARBLED.format(f'has {len(vectors)} rows for {count} inputs')}")
        return vectors, reasons.reshape(-1)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._settings.in_flight, thread_name_prefix="triton")
            return self._executor


def outputs(answer: Any, where: str) -> tuple[NDArray[np.float32], NDArray[np.object_], NDArray[np.uint32] | None]:
    """Vectors, reasons and checks that a server answered.

    Raises:
        GarbledAnswerError: there are none, or not whole.
    """
    try:
        vectors, reasons, checks = (answer.as_numpy(name) for name in ("EMBEDDING", "ERROR", "CHECK"))
    except ValueError as error:
        raise GarbledAnswerError(f"{where}: {GARBLED.format('is cut short')}") from error
    if vectors is None or reasons is None:
        raise GarbledAnswerError(f"{where}: {GARBLED.format('holds no vectors')}")
    return vectors, reasons, checks
