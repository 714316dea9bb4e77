"""Where a network runs: ONNX Runtime (no torch needed) or torch."""

from __future__ import annotations

from encoders.runtime.base import Runtime, thread_count

__all__ = ["Runtime", "thread_count"]
