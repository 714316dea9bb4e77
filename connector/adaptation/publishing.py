"""The end of a job: its encoder in the model repository, as a new version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import ConfigurationError

if TYPE_CHECKING:
    from encoders.contract import EncoderContract

ENCODER_JOBS = (
    "contrastive",
    "next_item",
    "masked_item",
    "universal_sequence",
    "collaborative_alignment",
    "co_interaction",
    "masked_patches",
    "views",
    "fusion",
)


def require_encoder_job(job: str) -> None:
    """Check that a job ends in an encoder.

    Raises:
        ConfigurationError: it does not.
    """
    if job not in ENCODER_JOBS:
        raise ConfigurationError(f"job {job} writes no encoder; leave --publish out ({', '.join(ENCODER_JOBS)} do)")


def publish_next(repository: Path, tower: Path, name: str) -> EncoderContract:
    """Publish a tower folder under the version after the highest of that name.

    The same weights again keep the version they have.

    Raises:
        ServingError: a name that cannot be a model's, or a repository that cannot be written.
        EncoderLoadError: the tower cannot be exported.
    """
    from connector.serving import publish, published
    from encoders.weight_files import weights_hash

    versions = {contract.version: contract for contract in published(repository) if contract.name == name}
    digest = weights_hash(tower)
    same = [version for version, contract in versions.items() if contract.weights_hash == digest]
    version = max(same) if same else max(versions, default=0) + 1
    return publish(repository, tower, name=name, version=version)
