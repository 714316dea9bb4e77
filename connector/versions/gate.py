"""What a candidate has to show before it may serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from connector.errors import ConnectorError
from connector.versions.neighbours import (
    draw,
    exact_neighbours,
    indexed_neighbours,
    overlap,
    recall,
    stored_sample,
)
from connector.versions.records import SpaceVersion
from connector.versions.trial import Trial

if TYPE_CHECKING:
    from connector.retrieval.encode_query import EncoderFor
    from connector.stores.base import VectorStore
    from connector.stores.offline_log import OfflineLog

Metric = Callable[[Trial], float]


class GateSettings(BaseModel):
    """Bounds that a candidate has to keep.

    Attributes:
        k: neighbours compared for each sampled item.
        sample: items drawn from the candidate.
        seed: of the draw.
        min_rows: rows of the candidate as a share of the serving version's.
        min_recall: recall@k of the candidate's index against exact search on it.
        min_overlap: share of an item's k neighbours that both versions agree on. A better encoder changes neighbours,
            so nothing is asked by default; the figure is reported.
        metric_tolerance: how much lower than the serving version's a metric of the caller's may be.
    """

    model_config = ConfigDict(extra="forbid")

    k: int = Field(10, ge=1, le=1000)
    sample: int = Field(100, ge=1, le=10_000)
    seed: int = 0
    min_rows: float = Field(0.99, ge=0)
    min_recall: float = Field(0.95, ge=0, le=1)
    min_overlap: float = Field(0.0, ge=0, le=1)
    metric_tolerance: float = Field(0.0, ge=0)


@dataclass(frozen=True)
class Check:
    """One thing compared.

    Attributes:
        value: as measured.
        bound: least value that passes.
        detail: in words.
    """

    name: str
    value: float
    bound: float
    passed: bool
    detail: str


@dataclass
class GateReport:
    """All checks of a candidate; `passed` when each of them did."""

    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def failed(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}


def run_gate(
    candidate: SpaceVersion,
    serving: SpaceVersion,
    *,
    store: VectorStore,
    log: OfflineLog,
    encoder_for: EncoderFor,
    settings: GateSettings,
    metrics: Mapping[str, Metric],
    override: Sequence[str] = (),
) -> GateReport:
    """Compare a candidate with the version that serves.

    Args:
        log: the candidate's offline log.
        metrics: name → figure of a version, more is better; each is taken of both versions, unless a check has failed
            already that is not overridden: they may be dear.
        override: names of checks that may fail.
    """
    report = GateReport([_contract(candidate, store, encoder_for), _rows(candidate, serving, settings)])
    report.checks.append(_complete(candidate, store, log))
    if candidate.rows:
        report.checks += _neighbours(candidate, serving, store, settings)
    if all(check.name in override for check in report.failed()):
        report.checks += [
            _metric(name, metric, candidate, serving, store, encoder_for, settings.metric_tolerance)
            for name, metric in metrics.items()
        ]
    return report


def _contract(candidate: SpaceVersion, store: VectorStore, encoder_for: EncoderFor) -> Check:
    """The collection holds what its view declares, and every encoder that readers will ask for answers to it."""
    space, problem = candidate.space, ""
    spec = store.describe(space.collection)
    if spec is None or spec.contract_hash != space.contract.hash:
        problem = f"{space.collection} holds vectors of {spec.contract_hash if spec else 'nothing'}"
    for contract in space.queries if not problem else ():
        if contract.pooling == "external":
            continue
        try:
            encoder_for(contract)
        except ConnectorError as error:
            problem = str(error)
            break
    return Check("contract", float(not problem), 1.0, not problem, problem or space.contract.label)


def _rows(candidate: SpaceVersion, serving: SpaceVersion, settings: GateSettings) -> Check:
    share = candidate.rows / serving.rows if serving.rows else float(candidate.rows > 0)
    detail = f"{candidate.rows:,} rows, the serving version has {serving.rows:,}"
    return Check("rows", share, settings.min_rows, candidate.rows > 0 and share >= settings.min_rows, detail)


def _complete(candidate: SpaceVersion, store: VectorStore, log: OfflineLog) -> Check:
    """The store holds what the log says, row by row: nothing is half written."""
    from connector.upkeep.comparison import compare
    from connector.upkeep.holdings import Holding

    spec = store.describe(candidate.space.collection)
    if spec is None:
        return Check("complete", 0.0, 1.0, False, f"{candidate.space.collection} is not in Milvus")
    view = candidate.view
    found = compare(Holding(view.name, candidate.label, candidate.state, spec, log, view), store)
    wrong = found.missing + found.stale + found.changed
    share = 1 - wrong / found.keys if found.keys else 1.0
    detail = (
        f"{found.keys:,} keys in the log; in Milvus {found.missing:,} are missing, {found.stale:,} older, "
        f"{found.changed:,} otherwise; `connector reconcile {view.name}` shows and mends them"
    )
    return Check("complete", share, 1.0, wrong == 0, detail)


def _neighbours(
    candidate: SpaceVersion, serving: SpaceVersion, store: VectorStore, settings: GateSettings
) -> list[Check]:
    sample = draw(store, candidate.space, settings.sample, settings.seed)
    exact = exact_neighbours(store, candidate.space, sample, settings.k)
    indexed = indexed_neighbours(store, candidate.space, sample, settings.k)
    found = recall(indexed, exact)
    before = stored_sample(store, serving.space, sample.keys)
    places = {key: place for place, key in enumerate(sample.keys)}
    agreed = overlap(
        [indexed.keys[places[key]] for key in before.keys],
        indexed_neighbours(store, serving.space, before, settings.k).keys,
    )
    return [
        Check(
            f"recall@{settings.k}",
            found,
            settings.min_recall,
            found >= settings.min_recall,
            f"of the index against exact search, {len(sample.keys)} items",
        ),
        Check(
            f"overlap@{settings.k}",
            agreed,
            settings.min_overlap,
            agreed >= settings.min_overlap,
            f"of neighbours with version {serving.label}, {len(before.keys)} items",
        ),
    ]


def _metric(
    name: str,
    metric: Metric,
    candidate: SpaceVersion,
    serving: SpaceVersion,
    store: VectorStore,
    encoder_for: EncoderFor,
    tolerance: float,
) -> Check:
    values = []
    for version in (candidate, serving):
        with Trial(version, store, encoder_for) as trial:
            values.append(float(metric(trial)))
    value, baseline = values
    bound = baseline - tolerance
    return Check(name, value, bound, value >= bound, f"{baseline:.4g} of version {serving.label}")
