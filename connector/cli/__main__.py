"""`python -m connector.cli`: the command as a module, as `accelerate launch -m` and `torchrun -m` start it."""

from __future__ import annotations

from connector.cli import main

main()
