"""8-bit encoders: smaller and quicker on a CPU, with the loss measured when they are made.

The weights of matrix products are kept as int8, each output channel under a scale of its own; activations get their
scale when they are there (ONNX Runtime's dynamic quantisation). That scale spans all rows of a run, so rows are run one
by one: the vector of an input does not depend on its batch. Scales fixed beforehand from a sample would not need that,
but left the default text encoder 63 % of its ten nearest neighbours where these leave it 90 %.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import Encoder
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError
from encoders.files import new_folder, write_json
from encoders.folder import GRAPH, GRAPH_RECORD, RECORD, EncoderFolder, record_of, write_graph_record
from encoders.runtime.onnx import ROW_BY_ROW

NEIGHBOURS = 10
LEAST_SAMPLE = 2


@dataclass(frozen=True)
class Int8Loss:
    """What 8 bits cost on a sample.

    Attributes:
        rows: inputs compared.
        cosine, least_cosine: of the 8-bit vector with the float32 one, mean and least, in -1..1.
        overlap: share of each input's ten nearest others that are the same, 0..1.
        speed: items/s over those of float32, in this process; above 1 is quicker.
        bytes, float_bytes: of the two graphs.
    """

    rows: int
    cosine: float
    least_cosine: float
    overlap: float
    speed: float
    bytes: int
    float_bytes: int

    def __str__(self) -> str:
        return (
            f"int8 against float32 on {self.rows} inputs: cosine {self.cosine:.4f} (least {self.least_cosine:.4f}), "
            f"{self.overlap:.0%} of the {NEIGHBOURS} nearest the same, {self.speed:.2f} x as fast, "
            f"{self.bytes / 1e6:.1f} instead of {self.float_bytes / 1e6:.1f} MB"
        )


def export_int8(
    source: str | Path,
    folder: str | Path,
    *,
    name: str,
    sample: Sequence[Any],
    version: int = 1,
    modality: str | None = None,
) -> tuple[EncoderContract, Int8Loss]:
    """Write an 8-bit encoder folder, and measure on a sample what that costs.

    Its contract is another one than that of the float32 encoder, and aligned with it: queries of either may meet
    documents of the other.

    Args:
        source: as for `encoders.export`.
        folder: where the encoder folder will lie, all of it or nothing.
        sample: raw inputs to measure on, at least two; a few hundred from the catalogue say most.
        modality: as for `encoders.export`.

    Raises:
        EncoderLoadError: a source that cannot be loaded, is no transformer (convolutions are slower in 8 bits), or a
            sample of fewer than two inputs that can be encoded.
    """
    from encoders.cache import exported
    from encoders.folder import is_encoder_folder
    from encoders.loading import load
    from encoders.source import require_name, resolve

    require_name(name)
    found = resolve(source, modality)
    plain = EncoderFolder.open(found.path) if is_encoder_folder(found.path) else exported(found)
    contract = replace(
        plain.contract.renamed(name, version),
        weights_hash=hashlib.sha256(f"int8:{plain.contract.weights_hash}".encode()).hexdigest(),
        aligned_with=(*plain.contract.aligned_with, plain.contract.hash),
    )
    with new_folder(Path(folder)) as filling:
        for path in plain.path.iterdir():
            if path.is_file() and not path.is_symlink() and path.name not in (RECORD, GRAPH, GRAPH_RECORD):
                shutil.copyfile(path, filling / path.name)
        graph = plain.graph
        _quantise(graph, filling / GRAPH, found.label)
        write_graph_record(filling, contract)
        write_json(filling / RECORD, record_of(contract, plain.preprocessing, f"{plain.source}, int8"))
        with load(plain.path) as exact, load(filling) as rounded:
            loss = _compare(exact, rounded, sample, (filling / GRAPH).stat().st_size, graph.stat().st_size)
    return contract, loss


def _quantise(graph: Path, target: Path, label: str) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shares = _weights_by_operator(onnx.load(str(graph)))
    if shares["MatMul"] <= shares["Conv"]:
        raise EncoderLoadError(f"{label}: its network is made of convolutions, which 8 bits make slower; keep float32")
    with _quiet():
        quantize_dynamic(
            graph, target, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"]
        )
    model = onnx.load(str(target))
    model.metadata_props.add(key=ROW_BY_ROW, value="activations are scaled over all rows of a run")
    onnx.save(model, str(target))


def _weights_by_operator(model: Any) -> dict[str, int]:
    """Elements of constant inputs of matrix products and of convolutions."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    counted = {"MatMul": 0, "Conv": 0}
    for node in model.graph.node:
        kind = "MatMul" if node.op_type == "Gemm" else node.op_type
        if kind in counted:
            counted[kind] += sum(sizes.get(name, 0) for name in node.input)
    return counted


def _compare(exact: Encoder, rounded: Encoder, sample: Sequence[Any], size: int, float_size: int) -> Int8Loss:
    wanted, slow = _timed(exact, sample)
    found, fast = _timed(rounded, sample)
    kept = np.linalg.norm(wanted, axis=1) > 0
    wanted, found = _unit(wanted[kept]), _unit(found[kept])
    if len(wanted) < LEAST_SAMPLE:
        raise EncoderLoadError(
            f"int8: {len(wanted)} of {len(sample)} sample inputs can be encoded, at least {LEAST_SAMPLE} are needed"
        )
    cosines = (wanted * found).sum(axis=1)
    pairs = zip(_nearest(wanted), _nearest(found), strict=True)
    overlap = float(np.mean([len(set(a) & set(b)) / len(a) for a, b in pairs]))
    return Int8Loss(len(wanted), float(cosines.mean()), float(cosines.min()), overlap, slow / fast, size, float_size)


def _timed(encoder: Encoder, sample: Sequence[Any]) -> tuple[NDArray[np.float32], float]:
    encoder.encode_tolerant(sample[:1])
    start = time.perf_counter()
    vectors = encoder.encode_tolerant(sample).vectors
    return vectors, time.perf_counter() - start


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1)[:, : min(NEIGHBOURS, len(vectors) - 1)]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    units: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return units


@contextmanager
def _quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
