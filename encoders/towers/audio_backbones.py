"""How each family of audio networks is loaded, and how its states become one vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from encoders.errors import EncoderLoadError
from encoders.towers.folder import load_backbone

Family = Literal["clap", "ast", "whisper", "wave", "spectrogram"]
Pool = Callable[[Any, Tensor, "Tensor | None"], Tensor]
FAMILIES: tuple[str, ...] = ("clap", "ast", "whisper", "wave", "spectrogram")


@dataclass(frozen=True)
class Loaded:
    """A backbone, its family, and what its vectors are pooled by."""

    backbone: Any
    family: Family
    pooling: str


def load_audio_backbone(folder: Path, config: Any) -> Loaded:
    """Load the part of a model folder that hears.

    Raises:
        EncoderLoadError: pickled or incomplete weights, or an architecture that takes no sound.
    """
    import transformers

    kind = config.model_type
    if kind in {"clap", "clap_audio_model"}:
        audio = getattr(config, "audio_config", config)
        if hasattr(config, "audio_config"):
            audio.projection_dim = config.projection_dim
        return Loaded(
            load_backbone(transformers.ClapAudioModelWithProjection, folder, config=audio), "clap", "projection"
        )
    if kind == "audio-spectrogram-transformer":
        return Loaded(load_backbone(transformers.ASTModel, folder), "ast", "pooler")
    if kind == "whisper":
        return Loaded(_whisper_encoder(folder, config), "whisper", "mean")
    if kind == "resnet" and config.num_channels == 1:
        return Loaded(load_backbone(transformers.ResNetModel, folder), "spectrogram", "mean")
    if hasattr(config, "conv_kernel"):
        return Loaded(load_backbone(transformers.AutoModel, folder, may_lack=("masked_spec_embed",)), "wave", "mean")
    raise EncoderLoadError(
        f"{folder}: a {kind} model takes no sound; give a CLAP, wav2vec 2.0, HuBERT, WavLM, AST or Whisper folder"
    )


def pool(family: Family, backbone: Any, values: Tensor, mask: Tensor | None) -> Tensor:
    """float32 [n, …] as `AudioPreprocessing.names` says → pooled states [n, hidden]."""
    return POOLS[family](backbone, values, mask)


def _clap(backbone: Any, values: Tensor, _: Tensor | None) -> Tensor:
    # Fusion mixes random crops of longer sounds in; without it the same sound has the same vector.
    longer = torch.zeros(values.shape[0], 1, dtype=torch.bool, device=values.device)
    embeds: Tensor = backbone(input_features=values.unsqueeze(1), is_longer=longer).audio_embeds
    return embeds


def _ast(backbone: Any, values: Tensor, _: Tensor | None) -> Tensor:
    pooled: Tensor = backbone(input_values=values).pooler_output
    return pooled


def _whisper(backbone: Any, values: Tensor, mask: Tensor | None) -> Tensor:
    states = backbone(values.transpose(1, 2)).last_hidden_state
    return masked_mean(states, None if mask is None else mask[:, ::2])


def _wave(backbone: Any, values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return masked_mean(backbone(values).last_hidden_state, None)
    states = backbone(values, attention_mask=mask).last_hidden_state
    lengths = backbone._get_feat_extract_output_lengths(mask.sum(dim=1))
    return masked_mean(states, torch.arange(states.shape[1], device=states.device).unsqueeze(0) < lengths.unsqueeze(1))


def _spectrogram(backbone: Any, values: Tensor, mask: Tensor | None) -> Tensor:
    states = backbone(pixel_values=values.unsqueeze(1)).last_hidden_state.mean(dim=3).transpose(1, 2)
    if mask is None:
        return masked_mean(states, None)
    config = backbone.config
    # Stem and its pooling, then every stage but perhaps the first, halve the frames.
    stride = 4 * 2 ** (len(config.depths) - int(not config.downsample_in_first_stage))
    return masked_mean(states, mask[:, ::stride][:, : states.shape[1]])


def masked_mean(states: Tensor, mask: Tensor | None) -> Tensor:
    """float32 [n, t, hidden] → mean over the real steps, [n, hidden]."""
    if mask is None:
        return states.mean(dim=1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def _whisper_encoder(folder: Path, config: Any) -> Any:
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    if list(config.architectures or ()) == ["WhisperEncoder"]:
        return load_backbone(WhisperEncoder, folder)
    return load_backbone(transformers.WhisperModel, folder).encoder


POOLS: dict[str, Pool] = {
    "clap": _clap,
    "ast": _ast,
    "whisper": _whisper,
    "wave": _wave,
    "spectrogram": _spectrogram,
}
