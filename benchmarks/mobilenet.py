"""MobileNet v1 (Google Coral, Apache-2.0) out of its TensorFlow Lite file: as a baseline, and as a tower to start from.

Reading the file needs `ai-edge-litert` (the extra `defaults`); nothing that ships needs it.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FILE = Path("encoders") / "mobilenet_v1_embedding.tflite"
ORIGIN = "MobileNet v1, trained on ImageNet (Google Coral, Apache-2.0; its TensorFlow Lite file, dequantised)"
SIDE = 224
# A convolution with its input, weights and bias; in the order of the network.
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def missing(data: Path | None) -> str | None:
    """Why MobileNet cannot be had here, in words, or None where it can."""
    from importlib.util import find_spec

    if data is None or not (data / FILE).is_file():
        return "no MobileNet file (set CONNECTOR_DATA)"
    if find_spec("ai_edge_litert") is None:
        return "ai-edge-litert is not installed (pip install 'multimodal-connector[defaults]')"
    return None


def features(data: Path, pictures: list[bytes]) -> NDArray[np.float32]:
    """The network as it was published, quantised: picture files → float32 [n, 1024], unit length."""
    network = _interpreter(data)
    network.allocate_tensors()
    taken, given = network.get_input_details()[0]["index"], network.get_output_details()[0]
    rows = []
    for content in pictures:
        picture = Image.open(io.BytesIO(content)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        network.set_tensor(taken, np.asarray(picture)[None])
        network.invoke()
        rows.append(_real(given, network.get_tensor(given["index"])).reshape(-1))
    matrix = np.stack(rows)
    return np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12), np.float32)


def write_tower(data: Path, folder: Path, side: int = SIDE) -> Path:
    """The same network in floating point as a tower folder, its weights dequantised.

    Its batch normalisations were folded into the convolutions before it was published. They are put back as shifts
    alone, with mean 0 and variance 1, so whoever trains it further should keep their statistics.

    Args:
        side: height and width of the pictures it will be given, pixels.
    """
    import torch
    from transformers import MobileNetV1Config, MobileNetV1Model

    from encoders.media.preprocessing import BILINEAR, ImagePreprocessing
    from encoders.towers.image import ImageTower

    network = _interpreter(data)
    network.allocate_tensors()
    details = {detail["index"]: detail for detail in network.get_tensor_details()}

    def constant(index: int) -> torch.Tensor:
        return torch.from_numpy(_real(details[index], network.get_tensor(index)))

    model = MobileNetV1Model(MobileNetV1Config(image_size=side))
    found = [op for op in network._get_ops_details() if op["op_name"] in CONVOLUTIONS]
    with torch.no_grad():
        for layer, op in zip([model.conv_stem, *model.layer], found, strict=True):
            weights, bias = constant(op["inputs"][1]), constant(op["inputs"][2])
            # TensorFlow Lite: depthwise [1, height, width, channels], else [out, height, width, in].
            order = (3, 0, 1, 2) if op["op_name"].startswith("DEPTHWISE") else (0, 3, 1, 2)
            layer.convolution.weight.copy_(weights.permute(order))
            norm: Any = layer.normalization
            norm.weight.fill_(1)
            norm.bias.copy_(bias)
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
    preprocessing = ImagePreprocessing(image_size=side, resample=BILINEAR)
    tower = ImageTower(model.eval(), preprocessing, pooling="pooler")
    return tower.save(folder, card="# MobileNet v1\n\nGoogle Coral, Apache-2.0; weights dequantised.\n")


def _interpreter(data: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(data / FILE), num_threads=1)


def _real(detail: dict[str, Any], values: NDArray[Any]) -> NDArray[np.float32]:
    """Integers of a quantised tensor → what they stand for (one scale and zero point for the whole tensor)."""
    scale, zero = detail["quantization"]
    if not math.isfinite(scale) or scale <= 0:
        raise ValueError(f"{detail['name']}: not quantised by one scale")
    return np.asarray((values.astype(np.float64) - zero) * scale, np.float32)
