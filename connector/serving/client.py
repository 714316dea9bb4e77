"""A gRPC connection to a Triton server, local or remote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from connector.config import TritonSettings
from connector.errors import ConfigurationError, ContractMismatchError, ServerUnavailableError, ServingError
from connector.serving.calls import call
from connector.serving.ensemble import is_checked, modalities_of, served_model
from connector.serving.model_config import contracts_of
from connector.serving.remote_encoder import TritonEncoder
from connector.serving.remote_item import TritonItemEncoder
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError

CONNECT_RETRIES = 1
METADATA_TIMEOUT_S = 10.0
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # Triton's gRPC server takes pings more frequent than one in five minutes for abuse while nothing is sent.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # A server that restarts is back in seconds; gRPC's own pause between connection attempts grows to minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class TritonClient:
    """A Triton server that holds encoders. Safe to use from several threads.

    Args:
        url: `host:port` of the gRPC endpoint.
        settings: TLS, headers, batching, timeouts and retries.

    Raises:
        ConfigurationError: a certificate file that cannot be read.
    """

    def __init__(self, url: str, settings: TritonSettings | None = None) -> None:
        self.url = url.removeprefix("grpc://").removeprefix("grpcs://")
        self.settings = settings or TritonSettings()
        self._client = _connect(self.url, self.settings)
        self._encoders: list[TritonEncoder] = []

    def ready(self) -> bool:
        """Whether the server answers and is ready; never raises."""
        try:
            return bool(self._ask(self._client.is_server_ready))
        except ServingError:
            return False

    def contracts(self) -> list[EncoderContract]:
        """Contracts of all encoder versions that are ready, by name and version.

        Raises:
            ServerUnavailableError: the server cannot be reached.
        """
        index = self._ask(self._client.get_model_repository_index)
        names = {model.name for model in index.models if model.state == "READY"}
        ready = {(model.name, int(model.version)) for model in index.models if model.state == "READY"}
        found = [contract for name in sorted(names) for contract in self._contracts_in(self._config_of(name)).values()]
        return sorted((c for c in found if served_model(c) in ready), key=lambda c: (c.name, c.version))

    def encoder(self, contract: EncoderContract) -> TritonEncoder:
        """The encoder that `contract` names, checked against what the server's model says of itself.

        Raises:
            ServerUnavailableError: the server cannot be reached, or has no such model ready.
            ContractMismatchError: the server's model has another contract.
        """
        self._require_ready(contract)
        config = self._config_of(served_model(contract)[0])
        served = self._contracts_in(config).get(contract.version)
        if served is None or served.hash != contract.hash:
            raise ContractMismatchError(
                f"Triton at {self.url}: expected {contract.label}, but its model is "
                f"{served.label if served else 'without an encoder contract'}; "
                "publish the expected one under a version of its own by `connector apply`"
            )
        how = (self._client, contract, self.url, self.settings, config.max_batch_size, is_checked(config))
        encoder = (
            TritonItemEncoder(*how, modalities_of(config)) if contract.modality == "fused" else TritonEncoder(*how)
        )
        self._encoders.append(encoder)
        return encoder

    def close(self) -> None:
        """Close the connection and the encoders that use it; closing twice is fine."""
        for encoder in self._encoders:
            encoder.close()
        self._encoders.clear()
        self._client.close()

    def __enter__(self) -> TritonClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_ready(self, contract: EncoderContract) -> None:
        model, version = served_model(contract)
        if not self._ask(lambda **how: self._client.is_model_ready(model, str(version), **how)):
            raise ServerUnavailableError(
                f"Triton at {self.url}: model {contract.name}/{contract.version} is not there or did not load; "
                "publish it by `connector apply`, then restart the local stack by `connector up`"
            )

    def _config_of(self, name: str) -> Any:
        return self._ask(lambda **how: self._client.get_model_config(name, **how)).config

    def _contracts_in(self, config: Any) -> dict[int, EncoderContract]:
        """Contracts by version that a model's configuration states; empty for a model that is no encoder."""
        try:
            return contracts_of(config)
        except EncoderLoadError as error:
            raise ContractMismatchError(f"Triton at {self.url}: model {config.name}: {error}") from error

    def _ask(self, function: Callable[..., Any]) -> Any:
        timeout = min(METADATA_TIMEOUT_S, self.settings.timeout_s)
        return call(
            lambda: function(headers=self.settings.headers or None, client_timeout=timeout),
            retries=min(CONNECT_RETRIES, self.settings.retries),
            where=f"Triton at {self.url}",
        )


def _connect(url: str, settings: TritonSettings) -> Any:
    from tritonclient.grpc import InferenceServerClient

    return InferenceServerClient(url, creds=_credentials(settings), channel_args=CHANNEL_OPTIONS)


def _credentials(settings: TritonSettings) -> Any:
    """TLS credentials, or None for a plain connection."""
    if not settings.tls:
        return None
    import grpc

    return grpc.ssl_channel_credentials(
        root_certificates=_content("root_certificates", settings.root_certificates),
        private_key=_content("private_key", settings.private_key),
        certificate_chain=_content("certificate_chain", settings.certificate_chain),
    )


def _content(setting: str, file: str | None) -> bytes | None:
    try:
        return Path(file).expanduser().read_bytes() if file else None
    except OSError as error:
        raise ConfigurationError(f"triton.{setting}: {file}: {error.strerror}") from error
