"""What serves, and where its rows lie, is changed by one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from connector.errors import ConfigurationError

if TYPE_CHECKING:
    from connector.repository import Repository

LOCK_FILE = ".promotion.lock"
WAIT_S = 10


@contextmanager
def alone(repository: Repository) -> Iterator[None]:
    """One promotion, rollback, prune, apply or deletion of a repository at a time; the lock goes with its process.

    Raises:
        ConfigurationError: another one has not ended after ten seconds.
    """
    from filelock import FileLock, Timeout

    folder = repository.path / "data"
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder / LOCK_FILE, timeout=WAIT_S):
            yield
    except Timeout as error:
        raise ConfigurationError(
            f"{repository.path}: another promotion, rollback, prune, apply or deletion is under way; try again when it "
            "is done"
        ) from error
