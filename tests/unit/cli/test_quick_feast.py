"""The installed command loads Feast without what it does not need, and leaves everything else as it was."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, typeguard
before = typeguard.typechecked
from connector.cli.quick_feast import import_feast_quickly
import_feast_quickly()
assert "feast" in sys.modules and "torch" not in sys.modules
assert typeguard.typechecked is before
from feast import Entity, ValueType
assert Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING).join_key == "item_id"
import torch
assert torch.tensor([1]).item() == 1
import_feast_quickly()
"""


def test_feast_comes_without_type_checks_and_torch_and_torch_still_loads() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


CHECKED = """
import sys
from connector.cli.quick_feast import import_feast_quickly
import_feast_quickly(checks=True)
assert "feast" in sys.modules and "torch" not in sys.modules
from feast import Entity
try:
    Entity(name=3)
except Exception as error:
    assert "str" in str(error), error
else:
    raise AssertionError("the type checks are gone")
"""


def test_a_command_that_declares_keeps_the_type_checks() -> None:
    done = subprocess.run([sys.executable, "-c", CHECKED], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
