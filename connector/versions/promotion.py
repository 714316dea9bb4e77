"""Which version serves: moved forward behind a gate, and back.

The alias moves first, in one step; the registry follows, in one commit. Both versions are whole at that moment, so a
crash between the two leaves readers of the registry on the old version and readers of the alias on the new one, each of
them whole; the same command again, or `connector apply`, finishes the move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.errors import ConfigurationError, PromotionError, UnknownSpaceError
from connector.spaces import TAG_PREVIOUS
from connector.versions.alone import alone
from connector.versions.gate import GateReport, GateSettings, Metric, run_gate
from connector.versions.records import SpaceVersion, find_version, find_versions

if TYPE_CHECKING:
    from feast import FeatureView

    from connector.repository import Repository
    from connector.retrieval.encode_query import EncoderFor


@dataclass
class PromotionReport:
    """A move of a space from one version to another.

    Attributes:
        before: version that served.
        now: version that serves.
        gate: what the candidate was held to; empty for a rollback and for a move that is being finished.
        overridden: failed checks that the caller let pass.
        next_step: what is left for a person to do.
    """

    space: str
    before: str
    now: str
    gate: GateReport = field(default_factory=GateReport)
    overridden: list[str] = field(default_factory=list)
    next_step: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "space": self.space,
            "before": self.before,
            "now": self.now,
            "gate": self.gate.to_dict(),
            "overridden": self.overridden,
            "next_step": self.next_step,
        }


def promote(
    repository: Repository,
    name: str,
    *,
    encoder_for: EncoderFor,
    version: str | int | None = None,
    settings: GateSettings | None = None,
    metrics: Mapping[str, Metric] | None = None,
    override: Sequence[str] = (),
    notice: Callable[[str], None] = lambda _: None,
) -> PromotionReport:
    """Let a candidate serve, if it passes the gate.

    Args:
        version: label of the candidate; None takes the highest.
        metrics: name → figure of a version, more is better; the candidate's must not fall below the serving one's.
        override: names of checks that may fail.

    Raises:
        PromotionError: a check failed; nothing moved. Carries the gate's report.
        UnknownSpaceError: no such space, version, or no candidate.
    """
    with alone(repository):
        versions = find_versions(repository, name)
        serving, candidate = _serving(versions), _candidate(versions, name, version)
        report = PromotionReport(name, serving.label, candidate.label)
        if not candidate.aliased:
            notice(f"comparing version {candidate.label} of {name} with version {serving.label}")
            report.gate = run_gate(
                candidate,
                serving,
                store=repository.vector_store,
                log=repository.offline_log(candidate.view),
                encoder_for=encoder_for,
                settings=settings or GateSettings(),
                metrics=metrics or {},
                override=override,
            )
            failed = [check for check in report.gate.failed() if check.name not in override]
            if failed:
                raise PromotionError(
                    f"version {candidate.label} of {name} does not pass: "
                    + "; ".join(f"{c.name} {c.value:.4g} < {c.bound:.4g} ({c.detail})" for c in failed),
                    report.gate,
                )
            report.overridden = [check.name for check in report.gate.failed()]
        _move(repository, candidate, previous=serving.label)
    report.next_step = _declare(candidate)
    return report


def rollback(repository: Repository, name: str, *, version: str | int | None = None) -> PromotionReport:
    """Let the version serve again that served before; no gate.

    It serves what it held when it was left: what was ingested since then went to the other version, and to those above.

    Args:
        version: label of another version to go back to.

    Raises:
        UnknownSpaceError: no such space, or nothing to go back to.
        PromotionError: that version holds no rows.
    """
    with alone(repository):
        versions = find_versions(repository, name)
        serving = _serving(versions)
        target = _target(versions, serving, name, version)
        if target.rows == 0 and serving.rows > 0:
            raise PromotionError(f"version {target.label} of {name} holds no rows; ingest into it first", GateReport())
        _move(repository, target, previous="")
    report = PromotionReport(name, serving.label, target.label)
    report.next_step = _declare(target) + "; " + _catch_up(target, serving)
    return report


def _move(repository: Repository, version: SpaceVersion, previous: str) -> None:
    name = version.space.name
    if not version.aliased:
        repository.vector_store.set_alias(name, version.space.collection)
    if version.state != "serving":
        view = version.view
        view.tags = {tag: value for tag, value in view.tags.items() if tag != TAG_PREVIOUS}
        if previous:
            view.tags[TAG_PREVIOUS] = previous
        _commit(repository, view)


def _commit(repository: Repository, view: FeatureView) -> None:
    from connector.stores.registry import write_atomically

    store = repository.feature_store
    write_atomically(store)
    repository.refresh()
    store.registry.apply_data_source(view.batch_source, store.project, commit=False)
    store.registry.apply_feature_view(view, store.project, commit=True)
    repository.refresh()


def _serving(versions: Sequence[SpaceVersion]) -> SpaceVersion:
    for version in versions:
        if version.state == "serving":
            return version
    raise ConfigurationError("the serving version has no collection in Milvus; run `connector apply`")


def _candidate(versions: Sequence[SpaceVersion], name: str, label: str | int | None) -> SpaceVersion:
    if label is not None:
        return find_version(list(versions), label)
    candidates = [version for version in versions if version.state == "candidate"]
    if not candidates:
        raise UnknownSpaceError(
            f"space {name} has no candidate: declare it with the next version or revision, and run `connector apply`"
        )
    return candidates[-1]


def _target(
    versions: Sequence[SpaceVersion], serving: SpaceVersion, name: str, label: str | int | None
) -> SpaceVersion:
    if label is not None:
        return find_version(list(versions), label)
    for version in versions:
        if version.aliased and version.state != "serving":  # a move died between alias and registry
            return serving if version.state == "candidate" else version
    if noted := serving.view.tags.get(TAG_PREVIOUS, ""):
        for version in versions:
            if version.label == noted:
                return version
        raise UnknownSpaceError(
            f"space {name}: version {noted}, which served before {serving.label}, is there no more; name another by "
            f"--version: {', '.join(each.label for each in versions if each is not serving) or 'there is none'}"
        )
    lower = [version for version in versions if version.number < serving.number]
    if not lower:
        raise UnknownSpaceError(f"space {name} has no earlier version than {serving.label} to go back to")
    return lower[-1]


def _catch_up(version: SpaceVersion, other: SpaceVersion) -> str:
    """What a version lacks that did not serve for a while."""
    return (
        f"version {version.label} holds {version.rows:,} rows, version {other.label} {other.rows:,}: what was ingested "
        f"while {other.label} served is not in it; ingest it again"
    )


def _declare(version: SpaceVersion) -> str:
    revision = f" and revision={version.space.revision}" if version.space.revision > 1 else ""
    return (
        f"declare {version.space.name} with encoder {version.space.contract.name} version {version.space.version}"
        f"{revision} in the repository's files, so that they say what serves"
    )
