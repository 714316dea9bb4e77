"""Examples that run as they stand; installed with the source tree, not with the wheel."""
