"""Settings: `connector.yaml` beside `feature_store.yaml`, overridden by `CONNECTOR_…` environment variables.

Milvus is configured where Feast configures it, in `online_store:` of `feature_store.yaml`; this file holds the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from connector.errors import ConfigurationError

FILE_NAME = "connector.yaml"


class TritonSettings(BaseModel):
    """Where encoders run.

    Attributes:
        url: `host:port` of a gRPC endpoint; None uses the local server that `connector up` starts, or, where
            `mode` allows it, encoders in this process.
        mode: `server` always asks Triton; `process` runs the same encoders here; `auto` takes the server when it is
            configured or up, and starts it or falls back to this process otherwise, saying so.
        model_repository: folder of the model repository, relative to the feature repository.
        environment: virtual environment of the local server; None builds one in the user's cache folder.
        batch_size: inputs in one request.
        in_flight: requests under way at once.
        timeout_s: seconds for one request, retries not counted.
        retries: tries again when the server is unavailable or overloaded; seven take half a minute, in which a server
            that was restarted has loaded its models.
        response_cache_mb: MiB in which the local server remembers its answers, for queries that come again; 0: none.
    """

    model_config = ConfigDict(extra="forbid")

    url: str | None = None
    mode: Literal["auto", "server", "process"] = "auto"
    model_repository: str = "triton_models"
    environment: str | None = None
    batch_size: int = Field(64, ge=1, le=4096)
    in_flight: int = Field(4, ge=1, le=64)
    timeout_s: float = Field(60.0, gt=0)
    retries: int = Field(7, ge=0, le=20)
    response_cache_mb: int = Field(64, ge=0, le=65536)
    tls: bool = False
    root_certificates: str | None = None
    private_key: str | None = None
    certificate_chain: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)


class IngestSettings(BaseModel):
    """Bounds of an ingest.

    Attributes:
        batch_rows: catalogue rows held at once.
        max_media_bytes: larger media files become dead letters.
        max_text_bytes: longer texts become dead letters.
    """

    model_config = ConfigDict(extra="forbid")

    batch_rows: int = Field(512, ge=1, le=65536)
    max_media_bytes: int = Field(32 * 1024 * 1024, ge=1)
    max_text_bytes: int = Field(256 * 1024, ge=1)


class Settings(BaseSettings):
    """All settings of one feature repository."""

    model_config = SettingsConfigDict(env_prefix="CONNECTOR_", env_nested_delimiter="__", extra="forbid")

    triton: TritonSettings = Field(default_factory=TritonSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file: the file arrives as init values."""
        return env_settings, init_settings


def load_settings(repository: Path) -> Settings:
    """Settings of the feature repository in `repository`.

    Raises:
        ConfigurationError: connector.yaml is not YAML, or a setting is unknown or out of range; names the place.
    """
    file = repository / FILE_NAME
    values: dict[str, Any] = {}
    if file.exists():
        values = _read_yaml(file)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{file}: {place}: {first['msg']}") from error


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not readable as YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{file}: expected a mapping at the top, found {type(values).__name__}")
    return values


__all__ = ["FILE_NAME", "IngestSettings", "Settings", "TritonSettings", "load_settings"]
