"""Where encoders come from: a Triton server that is up, one started for this process, or this process itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from connector.config import TritonSettings
from connector.errors import ContractMismatchError, ServerUnavailableError, ServingError
from connector.serving.client import TritonClient
from connector.serving.ensemble import served_model
from connector.serving.environment import find
from connector.serving.local import LocalTriton
from connector.serving.repository import is_complete, limits_set, read_contract, version_folder
from connector.serving.stack import refresh
from connector.serving.state import STATE_FOLDER, running_triton
from encoders.base import Encoder
from encoders.contract import EncoderContract

log = logging.getLogger(__name__)


@dataclass
class _Source:
    """Where encoders run, and how to get one there."""

    description: str
    get: Callable[[EncoderContract], Encoder]
    close: Callable[[], None]


class EncoderProvider:
    """Encoders by contract. Nothing is connected, started or loaded before the first `get`. Safe for several threads.

    Args:
        settings: `triton:` of connector.yaml.
        repository_dir: the feature repository, which relative paths and the local stack belong to.
    """

    def __init__(self, settings: TritonSettings, repository_dir: Path) -> None:
        self._settings = settings
        self._folder = Path(repository_dir).absolute()
        self._models = self._folder / settings.model_repository
        self._lock = threading.RLock()
        self._source: _Source | None = None
        self._encoders: dict[str, Encoder] = {}

    def get(self, contract: EncoderContract) -> Encoder:
        """The encoder with this very contract.

        Raises:
            ServerUnavailableError: mode `server`, and no server can be reached or it lacks the model.
            ServingError: the encoder was not published; a local server did not start.
            ContractMismatchError: the published or served encoder is another one.
        """
        with self._lock:
            encoder = self._encoders.get(contract.hash)
            if encoder is None:
                if self._source is None:
                    self._source = self._choose()
                encoder = self._encoders[contract.hash] = self._source.get(contract)
            return encoder

    def describe(self) -> str:
        """One line: where encoders run, or would."""
        if self._source is not None:
            return self._source.description
        url = self._settings.url or running_triton(self._folder)
        if self._settings.mode == "process":
            return "encoders run in this process"
        return f"encoders run on Triton at {url}" if url else "encoders start when first used"

    def close(self) -> None:
        """Release encoders and connections, and stop a server that was started here; closing twice is fine."""
        with self._lock:
            for encoder in self._encoders.values():
                encoder.close()
            self._encoders.clear()
            source, self._source = self._source, None
            if source is not None:
                source.close()

    def __enter__(self) -> EncoderProvider:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choose(self) -> _Source:
        mode = self._settings.mode
        if mode == "process":
            return self._in_process("encoders run in this process")
        if self._settings.url:
            return self._on_server(self._settings.url)
        url = running_triton(self._folder)
        if url:
            return self._on_stack(url)
        if mode == "server":
            raise ServerUnavailableError(
                "no Triton server: start the local stack by `connector up`, or set triton.url in connector.yaml"
            )
        return self._embedded_or_in_process()

    def _on_server(self, url: str) -> _Source:
        client = TritonClient(url, self._settings)
        return _Source(f"encoders run on Triton at {url}", client.encoder, client.close)

    def _on_stack(self, url: str) -> _Source:
        client = TritonClient(url, self._settings)

        def get(contract: EncoderContract) -> Encoder:
            self._require_published(contract)
            refresh(self._folder, contract)
            return client.encoder(contract)

        return _Source(f"encoders run on Triton at {url}, the local stack", get, client.close)

    def _embedded_or_in_process(self) -> _Source:
        try:
            environment = find(self._settings.environment, near=self._folder)
            if environment is None:
                return self._fall_back("there is no Triton environment yet (`connector up` builds one)")
            server = LocalTriton(
                self._models,
                environment,
                log_folder=self._folder / STATE_FOLDER / "logs",
                cache_mb=self._settings.response_cache_mb,
            ).start()
        except ServingError as error:
            return self._fall_back(str(error))
        client = TritonClient(server.grpc_url, self._settings)

        def get(contract: EncoderContract) -> Encoder:
            self._require_published(contract)
            model, version = served_model(contract)
            if server.models().get(f"{model}/{version}") != "READY":
                server.reload()
            return client.encoder(contract)

        def close() -> None:
            client.close()
            server.stop()

        return _Source(f"encoders run on Triton at {server.grpc_url}, started for this process", get, close)

    def _fall_back(self, reason: str) -> _Source:
        log.warning("encoders run in this process: %s", reason)
        return self._in_process(f"encoders run in this process: {reason}")

    def _in_process(self, description: str) -> _Source:
        return _Source(description, self._load, lambda: None)

    def _load(self, contract: EncoderContract) -> Encoder:
        import encoders

        folder = self._require_published(contract)
        limits = limits_set(self._models, contract)
        encoder: Encoder = encoders.load(str(folder), name=contract.name, version=contract.version, **limits)
        return encoder

    def _require_published(self, contract: EncoderContract) -> Path:
        folder = version_folder(self._models, contract.name, contract.version)
        if not (folder / "encoder.json").exists() or not is_complete(self._models, contract):
            raise ServingError(f"encoder {contract.label} is not in {self._models}; publish it by `connector apply`")
        present = read_contract(folder)
        if present.hash != contract.hash:
            raise ContractMismatchError(
                f"{folder}: holds {present.label} where {contract.label} is asked for; publish each under its version"
            )
        return folder
