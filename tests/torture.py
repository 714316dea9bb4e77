"""How hard the fault tests are: a few seeded points in `make test`, all of them in `make torture`."""

from __future__ import annotations

import os

TORTURE: bool = os.environ.get("CONNECTOR_TORTURE", "") not in ("", "0")
POINTS: int = 50 if TORTURE else 3
