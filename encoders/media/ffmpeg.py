"""FFmpeg through PyAV, opened so that a file can neither name other files nor pick a rare format."""

from __future__ import annotations

import io
from typing import Any

# Containers that people keep sounds and films in. Playlists (HLS, concat, DASH) are not here: they open other files.
FORMATS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf",
    "ogg", "mp3", "aac", "flac", "wav", "w64", "aiff", "au", "caf", "amr", "ac3", "eac3", "gif", "apng",
    "yuv4mpegpipe", "h264", "hevc", "ivf", "obu", "m4v",
)  # fmt: skip
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "", "enable_drefs": "0"}


def open_media(data: bytes) -> Any:
    """The container of a media file, for reading."""
    import av
    import av.logging

    av.logging.set_level(av.logging.PANIC)
    return av.open(io.BytesIO(data), mode="r", options=dict(OPTIONS))
