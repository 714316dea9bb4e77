"""The model repository: `<model>/config.pbtxt`, `<model>/<version>/` with the encoder and a thin `model.py`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from connector.errors import ConfigurationError, ContractMismatchError, ServingError
from connector.serving.ensemble import ENSEMBLE, Members, is_checked, members_of, render_ensemble, served_model
from connector.serving.model_config import HEADER, INSTANCES, MAX_BATCH, limits_of, parse_config, render_config
from connector.serving.warmup import FOLDER, WARMUP_FILE, has_warmup, warmup_content
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError
from encoders.files import read_json, write_bytes, write_json
from encoders.folder import GRAPH, GRAPH_RECORD, RECORD, EncoderFolder, has_graph, is_encoder_folder, require_graph
from encoders.limits import read_limits
from encoders.members import find_member

STAGING_PREFIX = ".staging-"
# Beside a graph: the contract it was exported under. A checkout brings new descriptions and leaves old graphs.
MADE_UNDER = "model.contract"
MODEL_FILE = "model.py"
MODEL_PY = '''"""Serves the encoder that lies in this folder; written by `connector apply`."""

import os
import sys

# The server's Python ignores PYTHONPATH, so a local server is told by a variable where `encoders` lies.
sys.path[:0] = filter(None, [os.environ.get("CONNECTOR_ENCODERS_PATH")])

from encoders.triton_model import TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
'''
# The model of a fused encoder's heads.
HEAD_PY = MODEL_PY.replace("encoders.triton_model", "encoders.triton_head")


def publish(
    repository: Path,
    source: str | Path,
    *,
    name: str,
    version: int = 1,
    modality: str | None = None,
    max_batch: int = MAX_BATCH,
    instances: int = INSTANCES,
    threads: int | None = None,
    limits: Mapping[str, Any] | None = None,
    replace_other: bool = False,
) -> EncoderContract:
    """Export an encoder into the model repository; the same encoder again changes nothing.

    A version folder appears whole or not at all. A running server takes it up at its next start or reload. With a fused
    encoder go its members, under the names and versions in their contracts, and an ensemble for each of its versions.

    Args:
        source: what `encoders.load` takes: a shipped default's name, a Hugging Face id, or a folder.
        modality: which tower of a source that has two (CLIP, SigLIP, CLAP, X-CLIP), or `video` for films through an
            image tower; default: as `encoders.load` takes the source.
        limits: that inputs of this model are held to, all its versions: `{"max_pixels": 100_000_000}` for instance, or
            `seconds` of processor time for a file; None leaves those that were set, `{}` goes back to the defaults.
        replace_other: put it in the place of another encoder of this name and version; for versions under development
            whose vectors nobody has stored.

    Returns:
        The published contract.

    Raises:
        ContractMismatchError: this name and version are taken by another encoder, or the name by encoders of another
            modality; names both.
        EncoderLoadError: the source cannot be loaded, or has no tower of that modality, or no such limit.
        ServingError: a name that cannot be a model's, or a repository that cannot be written.
    """
    require_name(name, version)
    folder = version_folder(repository, name, version)
    if limits is not None:
        from encoders.source import resolve

        read_limits(resolve(source, modality).modality, limits)
    try:
        contract = _publish_version(repository, source, folder, name, version, modality, replace_other)
        _write_changed(folder / MODEL_FILE, _model_py(contract).encode())
        write_model_files(repository, name, max_batch=max_batch, instances=instances, threads=threads, limits=limits)
    except OSError as error:
        raise ServingError(f"{error.filename or repository}: cannot be written: {error.strerror}") from error
    return contract


def published(repository: Path) -> list[EncoderContract]:
    """Contracts of all complete encoder versions in the repository, by name and version.

    Raises:
        EncoderLoadError: an `encoder.json` that holds no contract; names it.
    """
    return [contract for contract in described(repository) if is_complete(repository, contract)]


def described(repository: Path) -> list[EncoderContract]:
    """As `published`, with versions whose exported graph is still to be made."""
    # Hidden folders are left out before they are listed: what another process stages there may vanish meanwhile.
    models = [model for model in repository.glob("*") if not model.name.startswith(".")]
    files = (path for model in models for path in model.glob(f"*/{RECORD}") if path.parent.name.isdecimal())
    contracts = (read_contract(path.parent) for path in files)
    return sorted(contracts, key=lambda contract: (contract.name, contract.version))


def is_complete(repository: Path, contract: EncoderContract, *, whole: bool = False) -> bool:
    """Whether an encoder can be served: its graph, exported under the contract that describes it, `model.py` and
    `config.pbtxt`; of a fused one its members too.

    Args:
        whole: read the graph, too, and compare it with its record.
    """
    folder = version_folder(repository, contract.name, contract.version)
    if not all(path.is_file() for path in (folder / RECORD, folder / MODEL_FILE, folder.parent / "config.pbtxt")):
        return False
    present = read_contract(folder)
    if present.modality == "fused":
        members = members_of(read_json(folder / RECORD))
        if not all(is_complete(repository, member, whole=whole) for member in members):
            return False
    return _has_graph(folder, present, whole=whole)


def version_folder(repository: Path, name: str, version: int) -> Path:
    """`<repository>/<name>/<version>`."""
    return repository / name / str(version)


def read_contract(folder: Path) -> EncoderContract:
    """Contract of an encoder folder.

    Raises:
        EncoderLoadError: `encoder.json` is missing or holds none.
    """
    record = read_json(folder / RECORD).get("contract")
    if not isinstance(record, dict):
        raise EncoderLoadError(f"{folder / 'encoder.json'}: holds no contract")
    return EncoderContract.from_dict(record)


def write_model_files(
    repository: Path,
    name: str,
    *,
    max_batch: int = MAX_BATCH,
    instances: int = INSTANCES,
    threads: int | None = None,
    limits: Mapping[str, Any] | None = None,
) -> None:
    """Write what belongs to a model and not to a version: `config.pbtxt` and the warm-up sample.

    Args:
        limits: that its inputs are held to; None leaves those that were set.

    Raises:
        EncoderLoadError: one that its encoders do not have.
    """
    contracts = _versions(repository, name)
    modality = contracts[-1].modality
    if has_warmup(modality):
        folder = repository / name / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        _write_changed(folder / WARMUP_FILE, warmup_content(modality))
    members: dict[EncoderContract, Members] = {}
    if modality == "fused":
        records = (read_json(version_folder(repository, name, contract.version) / RECORD) for contract in contracts)
        members = {contract: members_of(record) for contract, record in zip(contracts, records, strict=True)}
    text = render_config(
        contracts,
        max_batch=max_batch,
        instances=instances,
        threads=threads,
        members=list(members.values()),
        limits=_limits_of_model(repository, contracts[-1]) if limits is None else read_limits(modality, limits),
    )
    _write_changed(repository / name / "config.pbtxt", text.encode())
    for contract, its_members in members.items():
        for member in its_members:
            _complete_outputs(repository, member.name)
        model, version = served_model(contract)
        # Triton wants a folder for the version of an ensemble; what lies in it does not matter.
        keep = version_folder(repository, model, version) / ".keep"
        keep.parent.mkdir(parents=True, exist_ok=True)
        _write_changed(keep, b"")
        text = HEADER + render_ensemble(contract, its_members, max_batch)
        _write_changed(repository / model / "config.pbtxt", text.encode())
    if _versions(repository, name) != contracts:
        # Another process published a version meanwhile, and this may have overwritten what it wrote of both.
        write_model_files(repository, name, max_batch=max_batch, instances=instances, threads=threads, limits=limits)


def limits_set(repository: Path, contract: EncoderContract) -> dict[str, Any]:
    """Limits that were set for the model that serves an encoder; of a fused one those of its members, by modality.

    Raises:
        ConfigurationError: its `config.pbtxt` does not parse, or states one that such an encoder does not have.
    """
    if contract.modality == "fused":
        record = read_json(version_folder(repository, contract.name, contract.version) / RECORD)
        return {member.modality: limits_set(repository, member) for member in members_of(record)}
    return _limits_of_model(repository, contract)


def _versions(repository: Path, name: str) -> list[EncoderContract]:
    return [contract for contract in described(repository) if contract.name == name]


def _complete_outputs(repository: Path, name: str) -> None:
    """Describe a member again that an older version described: an ensemble does not load without one of its outputs."""
    file = repository / name / "config.pbtxt"
    if not file.is_file():
        return
    config = parse_config(file.read_text(encoding="utf-8", errors="replace"))
    if not is_checked(config):
        threads = config.parameters["threads"].string_value if "threads" in config.parameters else ""
        write_model_files(
            repository,
            name,
            max_batch=config.max_batch_size,
            instances=config.instance_group[0].count if config.instance_group else INSTANCES,
            threads=int(threads) if threads else None,
        )


def _limits_of_model(repository: Path, contract: EncoderContract) -> dict[str, Any]:
    file = repository / contract.name / "config.pbtxt"
    if contract.modality == "fused" or not file.is_file():
        return {}
    try:
        return limits_of(parse_config(file.read_text(encoding="utf-8")), contract.modality)
    except (ConfigurationError, EncoderLoadError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file}: its limits cannot be read ({error}); remove the file and publish the encoder again with them"
        ) from error


def require_name(name: str, version: int = 1) -> None:
    """Check that an encoder can be published under a name and version.

    Raises:
        ServingError: it cannot.
    """
    plain = name.replace("_", "").replace("-", "").replace(".", "")
    if not plain.isascii() or not plain.isalnum() or name.startswith(".") or len(name) > 100:
        raise ServingError(f"{name!r} cannot be a model's name; use letters, digits, `_`, `-` and `.`")
    if ENSEMBLE.fullmatch(name):
        raise ServingError(f"{name!r} is how the ensemble of a fused encoder is called; use a name without its ending")
    if version < 1:
        raise ServingError(f"model {name}: version {version} is below 1")


def require_writable(repository: Path) -> None:
    """Check that encoders can be published here.

    Raises:
        ServingError: the folder cannot be written.
    """
    try:
        with _staging(repository):
            pass
    except OSError as error:
        raise ServingError(f"{error.filename or repository}: cannot be written: {error.strerror}") from error


def _publish_version(
    repository: Path,
    source: str | Path,
    folder: Path,
    name: str,
    version: int,
    modality: str | None,
    replace_other: bool,
) -> EncoderContract:
    known = _known_contract(source, name, version, modality)
    replacing = replace_other and known is not None and _holds_another(folder, known)
    if known is not None and not replacing and _is_there(folder, known):
        if known.modality == "fused":
            _publish_members(repository, EncoderFolder.open(folder))
        return known
    encoder = _exported(source, name, version, modality)
    contract = encoder.contract
    require_graph(encoder.path, contract)
    _require_modality(repository, contract)
    if contract.modality == "fused":
        _publish_members(repository, encoder)
    if replace_other and _holds_another(folder, contract):
        shutil.rmtree(folder)
    if _is_there(folder, contract):
        return contract
    with _staging(repository) as staged:
        for path in encoder.path.iterdir():
            if path.is_file() and not path.is_symlink() and path.suffix != ".py":
                shutil.copyfile(path, staged / path.name)
        write_json(staged / RECORD, encoder.record())
        (staged / MADE_UNDER).write_text(contract.hash + "\n", encoding="utf-8")
        (staged / MODEL_FILE).write_text(_model_py(contract), encoding="utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            staged.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            # Another process published the same meanwhile; or it is described and has no graph yet: a fresh checkout.
            if not _is_there(folder, contract):
                _fill(folder, staged)
    return contract


def _require_modality(repository: Path, contract: EncoderContract) -> None:
    """Refuse a second modality under one name: versions of a model share its warm-up sample and its cache."""
    for folder in sorted((repository / contract.name).glob("*")):
        if not folder.name.isdecimal() or int(folder.name) == contract.version or not (folder / RECORD).is_file():
            continue
        other = read_contract(folder)
        if other.modality != contract.modality:
            raise ContractMismatchError(
                f"{folder} holds {other.label}, which encodes {other.modality}, and {contract.label} encodes "
                f"{contract.modality}; publish it under a name of its own"
            )


def _publish_members(repository: Path, encoder: EncoderFolder) -> None:
    """Put the members of a fused encoder into the repository, those that are not there."""
    members = members_of(encoder.record())
    places = [version_folder(repository, member.name, member.version) for member in members]
    for member, place in zip(members, places, strict=True):
        if _holds_another(place, member):
            raise ContractMismatchError(
                f"{place} holds {read_contract(place).label}, and {encoder.contract.label} is made of {member.label}; "
                "publish that other encoder under a name of its own, or train a head over it (job fusion)"
            )
    for member in members:
        if not is_complete(repository, member):
            publish(repository, find_member(encoder.path, member), name=member.name, version=member.version)


def _model_py(contract: EncoderContract) -> str:
    return HEAD_PY if contract.modality == "fused" else MODEL_PY


def _exported(source: str | Path, name: str, version: int, modality: str | None) -> EncoderFolder:
    """The encoder folder of a source under a name; one that has to be exported is kept in the user's cache folder."""
    from encoders.cache import exported
    from encoders.source import resolve

    found = resolve(source, modality)
    if is_encoder_folder(found.path):
        return EncoderFolder.open(found.path).under(name, version)
    kept = exported(found)
    if found.default:
        return kept.under(name, version)
    # The kept folder bears a name of its own, which says nothing about the one asked for.
    return replace(kept, contract=replace(kept.contract, name=name, version=version))


def _known_contract(source: str | Path, name: str, version: int, modality: str | None) -> EncoderContract | None:
    """Contract of a shipped default, which is known without loading anything."""
    from encoders import default_contract
    from encoders.source import DEFAULTS

    if not isinstance(source, str) or source not in DEFAULTS or modality not in {None, source}:
        return None
    with suppress(EncoderLoadError):
        return default_contract(source).renamed(name, version)
    return None


def _holds_another(folder: Path, contract: EncoderContract) -> bool:
    return (folder / RECORD).exists() and read_contract(folder).hash != contract.hash


def _is_there(folder: Path, contract: EncoderContract) -> bool:
    """Whether a version's folder holds this very encoder, whole; what belongs to the model may still be missing."""
    if not (folder / RECORD).exists():
        return False
    present = read_contract(folder)
    if present.hash != contract.hash:
        raise ContractMismatchError(
            f"{folder} holds {present.label}, which is not {contract.label}; publish it under the next version"
        )
    return _has_graph(folder, present, whole=True)


def _has_graph(folder: Path, contract: EncoderContract, *, whole: bool) -> bool:
    made_under = folder / MADE_UNDER
    if made_under.is_file() and made_under.read_text(encoding="utf-8").strip() != contract.hash:
        return False
    return has_graph(folder, contract, whole=whole)


def _fill(folder: Path, staged: Path) -> None:
    # The graph, then what it was made from and under: they make the version complete.
    last = {GRAPH: 1, GRAPH_RECORD: 2, MADE_UNDER: 3}
    for path in sorted(staged.iterdir(), key=lambda path: last.get(path.name, 0)):
        if path.name != MODEL_FILE:
            path.replace(folder / path.name)


@contextmanager
def _staging(repository: Path) -> Iterator[Path]:
    """A folder on the repository's own file system, which Triton does not take for a model."""
    repository.mkdir(parents=True, exist_ok=True)
    outer = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=repository))
    try:
        inner = outer / "encoder"
        inner.mkdir()
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _write_changed(path: Path, content: bytes) -> None:
    # An unchanged file keeps its time, so that a version-control status stays clean.
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)
