"""What the demo's answers must come to: recall of the known right answers, group by group."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from examples.demo.ask import Answer

GOALS = {
    "words → words": 0.9,
    "words → both, fused": 0.9,
    "words and a filter → words": 0.9,
}


@dataclass(frozen=True)
class Group:
    """One way of searching over all its questions; recall is the mean recall@10, None where no answers are known."""

    name: str
    questions: int
    recall: float | None
    median_ms: float
    slowest_ms: float


@dataclass(frozen=True)
class Check:
    """A bound on a group's recall@10, and whether it holds."""

    name: str
    value: float
    goal: float

    @property
    def passed(self) -> bool:
        """Whether the value reaches the goal."""
        return self.value >= self.goal


def summarise(answers: Sequence[Answer]) -> list[Group]:
    """Groups in the order they were asked."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.group, []).append(answer)
    return [
        Group(
            name=name,
            questions=len(members),
            recall=statistics.mean(known) if (known := [a.recall for a in members if a.recall is not None]) else None,
            median_ms=statistics.median(a.milliseconds for a in members),
            slowest_ms=max(a.milliseconds for a in members),
        )
        for name, members in groups.items()
    ]


def check(groups: Sequence[Group]) -> list[Check]:
    """Checks of the groups that have a goal."""
    return [
        Check(group.name, group.recall, GOALS[group.name])
        for group in groups
        if group.name in GOALS and group.recall is not None
    ]
