"""Encoding pictures, sounds and films: in process, through Triton, and as a user of transformers would do it.

The same weights on every side. No library runs the project's own small audio and video networks, so an AST and a
VideoMAE of the published architectures with random weights stand in; the suites `text` and `image` hold the rest.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image

from benchmarks.data import films, pictures, sounds
from benchmarks.encoding import least_cosine, rates
from benchmarks.harness import ROOT, Figure, figure
from connector.config import TritonSettings
from connector.serving import LocalTriton, TritonClient, publish
from encoders import Encoder, load

COUNT = {"image": 96, "audio": 32, "video": 8}
ROUNDS, BATCH = 3, 16
FRAMES = 192
Call = Callable[[], Any]


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Items per second, decoding included."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources = {"image": vit(folder / "vit"), "audio": ast(folder / "ast"), "video": video_mae(folder / "mae")}
        inputs, origins = {}, {}
        inputs["image"], origins["pictures"] = pictures(COUNT["image"])
        inputs["audio"], origins["sounds"] = sounds(COUNT["audio"])
        inputs["video"], origins["films"] = films(COUNT["video"])
        others = {
            "image": by_image_processor(sources["image"], inputs["image"]),
            "audio": by_feature_extractor(sources["audio"], inputs["audio"]),
            "video": by_video_processor(sources["video"], inputs["video"]),
        }
        for name, source in sources.items():
            publish(folder / "models", source, name=name)
        figures: list[Figure] = []
        with LocalTriton(folder / "models", ROOT / ".venv-triton", log_folder=folder / "logs") as server:
            client = TritonClient(server.grpc_url, TritonSettings())
            try:
                for name in sources:
                    with load(folder / "models" / name / "1") as here:
                        served = client.encoder(here.contract)
                        figures += _figures(name, here, served, others[name], inputs[name])
            finally:
                client.close()
    networks = "small ViT, AST and VideoMAE with random weights"
    return figures, {"networks": networks, **COUNT, **origins, "rounds": ROUNDS}


def _figures(name: str, here: Encoder, served: Encoder, other: Call, items: Sequence[Any]) -> list[Figure]:
    cosine = least_cosine(here.encode(items), other())
    calls: dict[str, Call] = {
        "process": lambda: here.encode(items),
        "triton": lambda: served.encode(items),
        "transformers": other,
    }
    measured = rates(calls, items, ROUNDS)
    out = [
        figure(
            f"{name} {label}",
            measured[side],
            "items/s",
            baseline="transformers",
            baseline_value=measured["transformers"],
            goal=">= 1.0",
        )
        for side, label in (("process", "in process"), ("triton", "through Triton"))
    ]
    return [*out, figure(f"{name}: least cosine, in process to transformers", cosine, "")]


def vit(folder: Path) -> Path:
    """A small ViT with random weights."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=192, num_hidden_layers=6, num_attention_heads=3, intermediate_size=768)
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    return folder


def ast(folder: Path) -> Path:
    """A small AST with random weights."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    torch.manual_seed(0)
    config = ASTConfig(
        max_length=FRAMES, hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768
    )
    ASTModel(config).save_pretrained(folder)
    ASTFeatureExtractor(max_length=FRAMES).save_pretrained(folder)
    return folder


def video_mae(folder: Path) -> Path:
    """A small VideoMAE with random weights."""
    from transformers import VideoMAEConfig, VideoMAEImageProcessor, VideoMAEModel

    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=112, num_frames=8, hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768
    )
    VideoMAEModel(config).save_pretrained(folder)
    VideoMAEImageProcessor(size={"shortest_edge": 112}, crop_size={"height": 112, "width": 112}).save_pretrained(folder)
    return folder


def by_image_processor(folder: Path, files: Sequence[bytes]) -> Call:
    """Pictures by image processor and model, in batches."""
    from transformers import AutoImageProcessor, AutoModel

    processor, model = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def encode() -> Any:
        parts = []
        for start in range(0, len(files), BATCH):
            opened = [Image.open(io.BytesIO(file)).convert("RGB") for file in files[start : start + BATCH]]
            parts.append(model(**processor(opened, return_tensors="pt")).last_hidden_state[:, 0].numpy())
        return np.concatenate(parts)

    return encode


def by_feature_extractor(folder: Path, files: Sequence[bytes]) -> Call:
    """Sounds by soundfile, soxr, feature extractor and model, in batches."""
    import soxr
    from transformers import AutoFeatureExtractor, AutoModel

    extractor, model = AutoFeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def read(file: bytes) -> Any:
        wave, rate = soundfile.read(io.BytesIO(file), dtype="float32", always_2d=True)
        return soxr.resample(wave.mean(axis=1), rate, extractor.sampling_rate)

    @torch.inference_mode()
    def encode() -> Any:
        parts = []
        for start in range(0, len(files), BATCH):
            waves = [read(file) for file in files[start : start + BATCH]]
            features = extractor(waves, sampling_rate=extractor.sampling_rate, return_tensors="pt")
            parts.append(model(**features).pooler_output.numpy())
        return np.concatenate(parts)

    return encode


def by_video_processor(folder: Path, files: Sequence[bytes]) -> Call:
    """Films by PyAV, video processor and model: every frame is decoded, eight are kept, as the model's page shows."""
    import av
    from transformers import AutoImageProcessor, AutoModel

    processor, model = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def read(file: bytes) -> list[Any]:
        with av.open(io.BytesIO(file)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        count = int(model.config.num_frames)
        return [frames[int((part + 0.5) * len(frames) / count)] for part in range(count)]

    @torch.inference_mode()
    def encode() -> Any:
        parts = []
        for start in range(0, len(files), BATCH):
            pixels = processor([read(file) for file in files[start : start + BATCH]], return_tensors="pt")
            parts.append(model(**pixels).last_hidden_state.mean(dim=1).numpy())
        return np.concatenate(parts)

    return encode
