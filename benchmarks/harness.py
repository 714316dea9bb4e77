"""What every suite shares: timing, the result record, and the JSON file of a run."""

from __future__ import annotations

import gc
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("feast", "pymilvus", "milvus-lite", "tritonclient", "torch", "onnxruntime", "numpy", "pyarrow")


@dataclass(frozen=True)
class Figure:
    """One measured value beside its baseline.

    Attributes:
        ratio: value / baseline_value where both are rates, or times (the name says which).
        goal: bound on the ratio (or on the value where there is no baseline), as text: `>= 0.95`.
        met: whether the goal holds; None where there is none.
        low, high: bounds of the value's 95 % interval, where one was taken.
    """

    name: str
    value: float
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    low: float | None = None
    high: float | None = None


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    baseline: str = "",
    baseline_value: float | None = None,
    goal: str = "",
) -> Figure:
    """Build a `Figure`; the goal is held against the ratio, or against the value where there is no baseline."""
    ratio = value / baseline_value if baseline_value else None
    return Figure(
        name, value, unit, baseline, baseline_value, ratio, goal, _met(goal, value if ratio is None else ratio)
    )


def _met(goal: str, measured: float) -> bool | None:
    if not goal:
        return None
    sign, bound = goal.split()
    return measured >= float(bound) if sign == ">=" else measured <= float(bound)


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(calls: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of each call, measured in turn so that drift of the machine falls on all alike."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(warm_up + rounds):
        for name, call in calls.items():
            elapsed = seconds(call)
            if round_number >= warm_up:
                taken[name].append(elapsed)
    return {name: statistics.median(values) for name, values in taken.items()}


def latencies(calls: dict[str, Callable[[int], object]], rounds: int, warm_up: int = 20) -> dict[str, list[float]]:
    """Sorted seconds of `rounds` calls each, interleaved; each call gets the round's number."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm_up + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call(number)
            elapsed = time.perf_counter() - start
            if number >= warm_up:
                taken[name].append(elapsed)
    return {name: sorted(values) for name, values in taken.items()}


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of sorted values, `share` in 0 … 1."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def write_results(suite: str, figures: Sequence[Figure], notes: dict[str, Any] | None = None) -> Path:
    """Write `benchmarks/results/<suite>.json`: a header and the figures."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{suite}.json"
    record = {"suite": suite, "header": header(), "notes": notes or {}, "figures": [asdict(item) for item in figures]}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def header() -> dict[str, Any]:
    """Machine, versions and commit of this run."""
    import psutil

    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _commit() -> str:
    """Of this checkout; `-dirty` where more differs from it than figures that were measured."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!docs/benchmarks.md")
    return git("describe", "--always") + ("-dirty" if changed else "")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
