"""Apply: the repository's files → Feast registry, Milvus collections and aliases, offline logs, encoders; then a check
that all of them say the same."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from connector.definitions import load_definitions
from connector.errors import (
    ConfigurationError,
    ConnectorError,
    ContractMismatchError,
    EncoderLoadError,
    ServingError,
)
from connector.repository import Repository, one_line
from connector.spaces import EmbeddingSpace, is_content_view, read_spaces, view_record
from connector.stores.base import VectorStore
from connector.versions.alone import alone
from connector.versions.declared import check_spaces, make_candidates, separate
from encoders.contract import EncoderContract

Notice = Callable[[str], None]
EncoderState = Literal["published", "present", "missing"]


@dataclass(frozen=True)
class SpaceReport:
    """One space after an apply.

    Attributes:
        encoder: label of the contract of its vectors.
        rows: rows in the collection.
    """

    name: str
    entity: str
    modality: str
    dimension: int
    metric: str
    encoder: str
    collection: str
    rows: int


@dataclass
class ApplyReport:
    """What an apply made or found.

    Attributes:
        project: Feast project.
        spaces: every embedding space.
        content_views: names of the plain views that an ingest fills.
        candidates: what was declared with another version than serves, a line each.
        encoders: contract label → `published` now, `present` already, or `missing` from the model repository.
        problems: what does not fit together or is still to be done, a line each; empty when all is well.
    """

    project: str
    spaces: list[SpaceReport] = field(default_factory=list)
    content_views: list[str] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    encoders: dict[str, EncoderState] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def apply_repository(repository: Repository, notice: Notice = lambda _: None) -> ApplyReport:
    """Apply the repository's files, as Feast's own command does, and make what the spaces need.

    A space that is declared with another version than serves goes on serving; the declared one is made beside it.
    Nothing is written unless every file imports, every space is well declared and Milvus answers.

    Raises:
        ConfigurationError: the files or feature_store.yaml cannot be used, or Milvus takes fewer columns.
        SchemaMismatchError: a collection exists with another shape or contract.
        StoreUnavailableError: Milvus does not answer.
    """
    feast_store = repository.feature_store
    contents = load_definitions(repository.path, feast_store.project)
    spaces = read_spaces(contents.feature_views)
    store = repository.vector_store
    store.list_collections()  # Feast writes its registry whether or not Milvus answers
    with alone(repository):
        repository.refresh()
        declared = separate(contents.feature_views, repository, store)
        check_spaces(declared, repository, store)
        contents = contents._replace(feature_views=declared.to_apply)
        notice("applying the Feast definitions")
        _apply_to_feast(repository, contents)
        report = ApplyReport(project=feast_store.project, candidates=declared.lines)
        ensure_views(repository, store)
        make_candidates(declared.candidates, repository, store)
    report.content_views = sorted(view.name for view in contents.feature_views if is_content_view(view))
    report.encoders = publish_defaults(repository.model_repository, needed_contracts(spaces.values()), notice)
    if "published" in report.encoders.values():
        refresh_local_server(repository.path, notice)
    snapshot = repository.snapshot()
    report.spaces = [_space_report(space, store) for _, space in sorted(snapshot.spaces.items())]
    report.problems = [
        *_missing(report.encoders, spaces.values()),
        *_disagreements(repository, snapshot.spaces.values()),
    ]
    return report


def ensure_views(repository: Repository, store: VectorStore) -> None:
    """Collections, aliases and logs of every space and content view; what exists is left as it is."""
    for view in repository.snapshot().views.values():
        spec, serving = repository.collection_spec(view), store.resolve_alias(view.name)
        if serving is None or not is_content_view(view):  # a plain view may have moved on from its first collection
            store.create(spec, view_record(view))
        if serving is None:
            store.set_alias(view.name, spec.name)
        repository.offline_log(view).ensure(view)


def needed_contracts(spaces: Sequence[EmbeddingSpace] | Any) -> list[EncoderContract]:
    """Contracts of the encoders that ingest and search will ask for, by hash, once each."""
    needed: dict[str, EncoderContract] = {}
    for space in spaces:
        for contract in space.queries:
            if contract.pooling != "external":
                needed.setdefault(contract.hash, contract)
    return list(needed.values())


def publish_defaults(
    model_repository: Path, needed: Sequence[EncoderContract], notice: Notice
) -> dict[str, EncoderState]:
    """Publish the shipped encoders that are needed and not there yet → what became of each contract."""
    if not needed:
        return {}
    from connector.serving import publish, published
    from encoders import default_contract
    from encoders.source import DEFAULTS

    there = {contract.hash for contract in published(model_repository)}
    defaults: dict[str, str] = {}
    for source in DEFAULTS:
        with contextlib.suppress(EncoderLoadError):
            defaults[default_contract(source).hash] = source
    states: dict[str, EncoderState] = {}
    for contract in needed:
        if contract.hash in there:
            states[contract.label] = "present"
        elif contract.hash in defaults:
            notice(f"publishing encoder {contract.name} version {contract.version} into {model_repository}")
            made = publish(model_repository, defaults[contract.hash], name=contract.name, version=contract.version)
            if made.hash != contract.hash:
                raise ContractMismatchError(
                    f"the shipped encoder {contract.name} came out as {made.label}, not {contract.label}; "
                    "reinstall multimodal-connector so that its weights and contracts agree"
                )
            states[contract.label] = "published"
        else:
            states[contract.label] = "missing"
    return states


def refresh_local_server(folder: Path, notice: Notice = lambda _: None) -> None:
    """Have a Triton that `connector up` started load what was published since; without one, a no-op."""
    from connector.serving import stack
    from connector.serving.state import running_triton

    if running_triton(folder) is not None:
        notice("reloading the local Triton")
        stack.refresh(folder)


def _apply_to_feast(repository: Repository, contents: Any) -> None:
    from feast.repo_operations import apply_total_with_repo_instance

    from connector.stores.registry import write_atomically

    store = repository.feature_store
    try:
        write_atomically(store)
        with contextlib.redirect_stdout(io.StringIO()):
            apply_total_with_repo_instance(store, store.project, store.registry, contents, skip_source_validation=True)
    except ConnectorError:
        repository.refresh()  # Feast leaves half-applied objects in its cached registry
        raise
    except Exception as error:  # Feast raises a class of its own, or a plain one, for each way to be wrong
        repository.refresh()
        raise ConfigurationError(f"{repository.path}: feast apply: {one_line(error)}") from error


def _space_report(space: EmbeddingSpace, store: VectorStore) -> SpaceReport:
    contract = space.contract
    return SpaceReport(
        space.name,
        space.entity,
        contract.modality,
        contract.dimension,
        contract.metric,
        contract.label,
        space.collection,
        store.count(space.collection),
    )


def _missing(states: dict[str, EncoderState], spaces: Any) -> list[str]:
    users: dict[str, list[str]] = {}
    contracts: dict[str, EncoderContract] = {}
    for space in spaces:
        for contract in space.queries:
            users.setdefault(contract.label, []).append(space.name)
            contracts[contract.label] = contract
    return [
        f"encoder {label} of {', '.join(users[label])} is not in the model repository; run "
        f"`connector encoders publish SOURCE --name {contracts[label].name} --version {contracts[label].version}`"
        for label, state in states.items()
        if state == "missing"
    ]


def _disagreements(repository: Repository, spaces: Any) -> list[str]:
    """Models on the Triton server, where there is one, whose contracts differ from the spaces'."""
    from connector.serving import TritonClient
    from connector.serving.state import running_triton

    settings = repository.settings.triton
    url = settings.url or running_triton(repository.path)
    if url is None or settings.mode == "process":
        return []
    with contextlib.closing(TritonClient(url, settings)) as client:
        try:
            served = {(c.name, c.version): c for c in client.contracts()}
        except ServingError as error:
            return [f"encoders could not be compared: {error}"]
    lines = []
    for contract in needed_contracts(spaces):
        other = served.get((contract.name, contract.version))
        if other is None:
            lines.append(f"Triton at {url} serves no {contract.label}; load it there from the model repository")
        elif other.hash != contract.hash:
            lines.append(f"Triton at {url} serves {other.label} where the spaces declare {contract.label}")
    return lines
