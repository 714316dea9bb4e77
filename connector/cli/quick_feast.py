"""Feast in a third of its time, for commands that only read what was applied.

`import feast` takes seconds, most of them to rewrite its constructors for run-time type checks (typeguard), and more to
load torch for a method that nobody here calls. The checks do not help a process that declares nothing and ends in a
moment; torch helps none. Only the installed command does this, never the library: a process that is not ours gets Feast
as it is.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any


def import_feast_quickly(*, checks: bool = False) -> None:
    """Import Feast without torch, and without type checks of its constructors; both are as before afterwards.

    Args:
        checks: keep the type checks, for a command that runs the repository's files.
    """
    if "feast" in sys.modules or find_spec("typeguard") is None:
        return
    import typeguard

    checked = typeguard.typechecked
    has_torch = "torch" in sys.modules
    if not checks:
        setattr(typeguard, "typechecked", _unchecked)  # noqa: B010 - mypy takes a plain assignment for a mistake
    if not has_torch:
        sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it now fails, which Feast is ready for
    try:
        import feast  # noqa: F401
    finally:
        setattr(typeguard, "typechecked", checked)  # noqa: B010
        if not has_torch:
            del sys.modules["torch"]


def _unchecked(target: Any = None, **_: Any) -> Any:
    return target if target is not None else lambda function: function
