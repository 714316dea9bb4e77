"""How hard the fault tests are: one seeded point of each kind in `make test`, fifty in `make torture`."""

from __future__ import annotations

import os

TORTURE: bool = os.environ.get("CONNECTOR_TORTURE", "") not in ("", "0")
POINTS: int = 50 if TORTURE else 1
