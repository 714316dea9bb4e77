"""Serves the encoder that lies in this folder; written by `connector apply`."""

import os
import sys

# The server's Python ignores PYTHONPATH, so a local server is told by a variable where `encoders` lies.
sys.path[:0] = filter(None, [os.environ.get("CONNECTOR_ENCODERS_PATH")])

from encoders.triton_model import TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
