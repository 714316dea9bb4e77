"""How far a run is: what it writes down whenever rows are in the log and in the store."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from connector.errors import CatalogueError

FORMAT = 1
COUNTS = ("written", "stale", "encoded", "absent", "dead")


@dataclass
class RunState:
    """One run.

    Attributes:
        identity: name of its record.
        started: event time of rows without one, and created time of all rows.
        resumable: whether another process may carry it on; otherwise the record only says that the run is under way.
        position: catalogue rows before this one are done.
        rows: how many those are, broken ones included.
        part: number of the next part of every log.
        views: view → its counts so far.
        letters: dead letters so far, by kind.
        segments: files of dead letters that are kept with the record.
        published: whether the dead-letter table is in its place, so that only the record is left to remove.
    """

    identity: str
    run_id: str
    started: datetime
    source: str
    resumable: bool = True
    position: int = 0
    rows: int = 0
    part: int = 0
    views: dict[str, dict[str, int]] = field(default_factory=dict)
    letters: dict[str, int] = field(default_factory=dict)
    segments: int = 0
    published: bool = False

    def to_json(self) -> bytes:
        """Read back by `state_of_json`."""
        record = {"format": FORMAT, **asdict(self), "started": self.started.isoformat()}
        return json.dumps(record, sort_keys=True).encode()


def state_of_json(data: bytes, place: str) -> RunState:
    """The state that `RunState.to_json` wrote.

    Args:
        place: where it was found, for the message.

    Raises:
        CatalogueError: it is none, or one of another version of this library.
    """
    try:
        record: dict[str, Any] = json.loads(data)
        if record.pop("format") != FORMAT:
            raise ValueError("another format")
        state = RunState(**{**record, "started": datetime.fromisoformat(record["started"])})
        counts = [state.position, state.rows, state.part, state.segments, *state.letters.values()]
        counts += [view[name] for view in state.views.values() for name in COUNTS]
        if state.started.tzinfo is None or any(not isinstance(count, int) or count < 0 for count in counts):
            raise ValueError("impossible counts")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(
            f"{place}: the record of an unfinished run cannot be read ({error}); start afresh by --restart"
        ) from error
    return state
