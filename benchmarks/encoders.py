"""Encoding of every kind: in process, through Triton, and as a user of the libraries would do it.

The same weights on every side. No library runs the project's own small audio and video networks, so an AST and a
VideoMAE of the published architectures with random weights stand in; the suites `text` and `image` hold the rest. Of
histories and of fused items, which no library encodes, the other side is what a user would write in plain torch.
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

from benchmarks import own_towers
from benchmarks.data import descriptions, films, pictures, sounds
from benchmarks.encoding import least_cosine, rates
from benchmarks.harness import ROOT, Figure, figure
from connector.config import TritonSettings
from connector.serving import LocalTriton, TritonClient, publish
from connector.serving.repository import read_contract
from encoders import Encoder, load
from encoders.base import Side

COUNT = {"image": 96, "audio": 32, "video": 8}
ROUNDS, BATCH = 3, 16
FRAMES = 192
LIBRARIES = {"sequence": "plain torch", "fused": "sentence-transformers, transformers, plain torch"}
Call = Callable[[], Any]


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Items per second, decoding included."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models = folder / "models"
        sources = {"image": vit(folder / "vit"), "audio": ast(folder / "ast"), "video": video_mae(folder / "mae")}
        inputs: dict[str, Sequence[Any]] = {}
        origins: dict[str, Any] = {}
        inputs["image"], origins["pictures"] = pictures(COUNT["image"])
        inputs["audio"], origins["sounds"] = sounds(COUNT["audio"])
        inputs["video"], origins["films"] = films(COUNT["video"])
        words, origins["words"] = descriptions(COUNT["image"])
        others = {
            "image": by_image_processor(sources["image"], inputs["image"]),
            "audio": by_feature_extractor(sources["audio"], inputs["audio"]),
            "video": by_video_processor(sources["video"], inputs["video"]),
        }
        sources["sequence"], inputs["sequence"] = own_towers.sequence(folder / "sasrec"), own_towers.histories()
        others["sequence"] = own_towers.by_plain_torch(sources["sequence"], inputs["sequence"])
        quicker = own_towers.by_plain_torch(sources["sequence"], inputs["sequence"], newest=True)
        for name, source in {"text": "text", **sources}.items():
            publish(models, source, name=name)
        members = [read_contract(models / name / "1") for name in ("text", "image")]
        sources["fused"] = own_towers.fused(folder / "head", members, {"image": models / "image" / "1"})
        inputs["fused"] = [
            {"text": text, "image": picture} for text, picture in zip(words, inputs["image"], strict=True)
        ]
        others["fused"] = own_towers.by_members(sources["fused"], [by_sentence_transformers(words), others["image"]])
        publish(models, sources["fused"], name="fused")
        figures: list[Figure] = []
        with LocalTriton(models, ROOT / ".venv-triton", log_folder=folder / "logs") as server:
            client = TritonClient(server.grpc_url, TritonSettings())
            try:
                for name in sources:
                    with load(models / name / "1") as here:
                        figures += _figures(name, here, client.encoder(here.contract), others[name], inputs[name])
                        if name == "sequence":
                            figures += _beside_quicker(client.encoder(here.contract), quicker, inputs[name])
            finally:
                client.close()
    networks = "small ViT, AST, VideoMAE, SASRec and gated head (over text and ViT) with random weights"
    notes = {"networks": networks, **COUNT, "histories": len(inputs["sequence"]), **origins, "rounds": ROUNDS}
    return figures, notes


def _figures(name: str, here: Encoder, served: Encoder, other: Call, items: Sequence[Any]) -> list[Figure]:
    side: Side = "query" if name == "sequence" else "document"
    cosine = least_cosine(here.encode(items, side), other())
    calls: dict[str, Call] = {
        "process": lambda: here.encode(items, side),
        "triton": lambda: served.encode(items, side),
        "other": other,
    }
    measured = rates(calls, items, ROUNDS)
    library = LIBRARIES.get(name, "transformers")
    out = [
        figure(
            f"{name} {label}",
            measured[place],
            "items/s",
            baseline=library,
            baseline_value=measured["other"],
            goal=">= 1.0",
        )
        for place, label in (("process", "in process"), ("triton", "through Triton"))
    ]
    return [*out, figure(f"{name}: least cosine, in process to {library}", cosine, "")]


def _beside_quicker(served: Encoder, quicker: Call, histories: Sequence[Any]) -> list[Figure]:
    """Histories once more, to a user who found by himself which work is not needed."""
    measured = rates({"triton": lambda: served.encode(histories, "query"), "other": quicker}, histories, ROUNDS)
    label, baseline = "sequence through Triton, once more", "plain torch, last block for the newest step alone"
    return [figure(label, measured["triton"], "items/s", baseline=baseline, baseline_value=measured["other"])]


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


def by_sentence_transformers(texts: Sequence[str]) -> Call:
    """Texts by sentence-transformers, with the weights of the default text encoder."""
    from sentence_transformers import SentenceTransformer

    from encoders.source import default_folder

    model = SentenceTransformer(str(default_folder("text")), device="cpu")
    return lambda: model.encode(list(texts), batch_size=BATCH)
