"""Jobs around semantic ids: making them, and writing the next one."""
