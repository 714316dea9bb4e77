"""The scans of a JPEG, counted from its markers (ITU-T T.81, annex B): nothing is decoded."""

from __future__ import annotations

import re

START, END, SCAN = 0xD8, 0xD9, 0xDA
# A marker of its own right: neither a stuffed byte, fill, nor one of those inside of a scan (RST, TEM).
MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")


def scans_of(data: bytes) -> int:
    """How often a decoder goes over the picture before its end marker: starts of scans; 0 for anything but a JPEG."""
    if not data.startswith(b"\xff\xd8\xff"):
        return 0
    count, place = 0, 2
    while (found := MARKER.search(data, place)) is not None and found[1][0] != END:
        place = found.end()
        if found[1][0] == START:
            continue
        count += found[1][0] == SCAN
        # What a segment holds (a thumbnail, a colour profile) may look like markers.
        place += int.from_bytes(data[place : place + 2], "big")
    return count
