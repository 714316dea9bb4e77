"""A view's time to live, as a condition on the event time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from connector.spaces import EVENT_TIMESTAMP
from connector.stores.filters import Comparison, Filter
from connector.stores.filters.tree import all_of

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EARLIEST = datetime(1, 1, 1, tzinfo=timezone.utc)


def alive_since(ttl: timedelta | None, now: datetime) -> datetime | None:
    """Event time of the oldest rows that are still served, or None where rows never expire (no ttl, or 0)."""
    if not ttl:
        return None
    try:
        return now.astimezone(timezone.utc) - ttl
    except OverflowError:
        return EARLIEST


def unexpired(where: Filter | None, ttl: timedelta | None, now: datetime) -> Filter | None:
    """`where`, and not expired."""
    since = alive_since(ttl, now)
    if since is None:
        return where
    fresh = Comparison(EVENT_TIMESTAMP, ">=", (since - EPOCH) // timedelta(microseconds=1))
    if where is None:
        return Filter(fresh, {EVENT_TIMESTAMP: "timestamp"})
    return Filter(all_of((where.tree, fresh)), {**where.types, EVENT_TIMESTAMP: "timestamp"}, where.text)
