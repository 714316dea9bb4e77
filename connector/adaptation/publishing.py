"""The end of a job: its encoder in the model repository, as a new version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import ConfigurationError

if TYPE_CHECKING:
    from connector.adaptation.fusion.spec import Member
    from connector.adaptation.run_spec import RunSpec
    from encoders.contract import EncoderContract

# Modality of the encoder that a job ends in; a contrastive job's is that of its pairs.
ENCODER_JOBS = {
    "contrastive": "image",
    "next_item": "sequence",
    "masked_item": "sequence",
    "universal_sequence": "sequence",
    "collaborative_alignment": "sequence",
    "co_interaction": "sequence",
    "masked_patches": "image",
    "views": "image",
    "fusion": "fused",
}


def require_encoder_job(job: str) -> None:
    """Check that a job ends in an encoder.

    Raises:
        ConfigurationError: it does not.
    """
    if job not in ENCODER_JOBS:
        raise ConfigurationError(f"job {job} writes no encoder; leave --publish out ({', '.join(ENCODER_JOBS)} do)")


def require_target(repository: Path, spec: RunSpec, name: str) -> None:
    """Check, before hours of training, that what a job ends in can be published under a name.

    Args:
        name: of its encoder; a text encoder that learned along is called so with `_text` behind.

    Raises:
        ConfigurationError: the job ends in no encoder, or a name is that of encoders of another modality, or a member
            of a fused encoder is called as another encoder is.
        ServingError: a name that cannot be a model's, or a repository that cannot be written.
        EncoderLoadError: a version of that name which cannot be read.
    """
    from connector.serving.repository import require_name, require_writable

    require_encoder_job(spec.job)
    makes: dict[str, str] = getattr(spec, "makes", {"": ENCODER_JOBS[spec.job]})
    for suffix, made in makes.items():
        require_name(name + suffix)
        for version, contract in _versions(repository, name + suffix).items():
            if contract is not None and contract.modality != made:
                raise ConfigurationError(
                    f"{repository / (name + suffix) / str(version)} encodes {contract.modality}, job {spec.job} ends "
                    f"in an encoder of {made}; publish under another name"
                )
    members: dict[str, Member] = getattr(spec, "members", {})
    for modality, member in members.items():
        _require_place(repository, modality, member, name)
    require_writable(repository)


def publish_next(repository: Path, tower: Path, name: str) -> EncoderContract:
    """Publish a tower folder under the version after the highest of that name.

    A version counts that is only described, its graph still to be made, as in a fresh checkout. The same encoder again
    keeps the version it has.

    Raises:
        ServingError: a name that cannot be a model's, or a repository that cannot be written.
        EncoderLoadError: the tower cannot be exported.
    """
    from connector.serving import publish
    from encoders.exporting import contract_of, open_tower
    from encoders.source import resolve

    versions, source = _versions(repository, name), resolve(tower)
    opened = open_tower(source)
    same = [version for version, taken in versions.items() if taken == contract_of(source, opened, name, version)]
    version = max(same) if same else max(versions, default=0) + 1
    return publish(repository, tower, name=name, version=version)


def _require_place(repository: Path, modality: str, member: Member, head: str) -> None:
    """Check that a member of a fused encoder can be published under the name and version that the head will know."""
    from encoders.source import default_name

    name, version = member.name or default_name(member.encoder), member.version or 1
    if name == head:
        raise ConfigurationError(f"members.{modality} is called {name!r} already; publish the whole under another name")
    versions = _versions(repository, name)
    for other in versions.values():
        if other is not None and other.modality != modality:
            raise ConfigurationError(
                f"members.{modality}: {repository / name} holds encoders of {other.modality}; give {member.encoder} "
                "another name:"
            )
    if version not in versions or versions[version] == _contract(member.encoder, modality, name, version):
        return
    raise ConfigurationError(
        f"members.{modality}: {repository / name / str(version)} holds another encoder than {member.encoder}; say "
        f"version: {max(versions) + 1} for this member, or give it another name:"
    )


def _contract(source: str, modality: str, name: str, version: int) -> EncoderContract:
    """What an encoder will be under a name and version."""
    from encoders.exporting import contract_of, open_tower
    from encoders.folder import EncoderFolder, is_encoder_folder
    from encoders.source import resolve

    found = resolve(source, modality)
    if is_encoder_folder(found.path):
        return EncoderFolder.open(found.path).under(name, version).contract
    return contract_of(found, open_tower(found), name, version)


def _versions(repository: Path, name: str) -> dict[int, EncoderContract | None]:
    """What is taken under a name; None where a folder describes no encoder."""
    from connector.serving.repository import read_contract
    from encoders.folder import RECORD

    folders = [path for path in (repository / name).glob("*") if path.name.isdecimal()]
    return {int(path.name): read_contract(path) if (path / RECORD).is_file() else None for path in folders}
