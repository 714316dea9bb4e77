"""Where this user's processes on this host keep what they must share."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

VARIABLE = "CONNECTOR_STATE_FOLDER"


def state_folder() -> Path:
    """`CONNECTOR_STATE_FOLDER`, else one in `XDG_STATE_HOME`, else one for this user among temporary files.

    Writers of one Milvus must agree on it, so it does not depend on the working folder.
    """
    named, state = os.environ.get(VARIABLE, ""), os.environ.get("XDG_STATE_HOME", "")
    if named:
        return Path(named).absolute()
    if Path(state).is_absolute():
        return Path(state) / "multimodal-connector"
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return Path(tempfile.gettempdir()) / f"multimodal-connector-{user}"
