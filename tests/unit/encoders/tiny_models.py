"""Model folders of a few kilobytes, made from the real architectures with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from encoders.towers.folder import quiet

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
CLIP_TEXT = {**TEXT, "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}


def tiny_tokenizer(words: tuple[str, ...] = ("red", "dress", "apple", "chair")) -> Tokenizer:
    """A WordPiece tokenizer over letters and a few words."""
    entries = [*SPECIAL, *words, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {token: index for index, token in enumerate(entries)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def save_tokenizer(folder: Path, longest: int = 64) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"pad_token": "[PAD]", "model_max_length": longest, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def save_model(folder: Path, model: Any) -> Path:
    """Write a transformers model with reproducible random weights, in evaluation mode."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    with quiet():
        model.eval().save_pretrained(folder)
    return folder


def bert(folder: Path, **changes: Any) -> Path:
    """A plain BERT folder with a tokenizer."""
    save_tokenizer(folder)
    config = transformers.BertConfig(**{**TEXT, **changes})
    return save_model(folder, transformers.BertModel(config, add_pooling_layer=False))


def text_models() -> dict[str, Any]:
    """Architecture → a function that makes its tiny model; as published some hold a head that is not used."""
    t = transformers
    # Positions of these count from behind the padding token.
    roberta = {**TEXT, "max_position_embeddings": 66, "pad_token_id": 0}
    distilbert = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 100}
    return {
        "roberta": lambda: t.RobertaForMaskedLM(t.RobertaConfig(**roberta)),
        "distilbert": lambda: t.DistilBertForMaskedLM(t.DistilBertConfig(**distilbert, max_position_embeddings=64)),
        "mpnet": lambda: t.MPNetModel(t.MPNetConfig(**roberta), add_pooling_layer=False),
        "bert_classifier": lambda: t.BertForSequenceClassification(t.BertConfig(**TEXT, num_labels=3)),
    }


def text(folder: Path, name: str) -> Path:
    """A folder of one of `text_models` with a tokenizer."""
    save_tokenizer(folder)
    return save_model(folder, text_models()[name]())


def vit(folder: Path) -> Path:
    """A plain ViT folder."""
    return save_model(folder, transformers.ViTModel(transformers.ViTConfig(**VISION), add_pooling_layer=False))


def clip(folder: Path) -> Path:
    """A two-tower CLIP folder with a tokenizer and a processor record."""
    save_tokenizer(folder, longest=16)
    with quiet():
        config = transformers.CLIPConfig(text_config=CLIP_TEXT, vision_config=VISION, projection_dim=24)
        model = transformers.CLIPModel(config)
    processor = {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return save_model(folder, model)


def siglip(folder: Path) -> Path:
    """A two-tower SigLIP folder with a tokenizer."""
    save_tokenizer(folder, longest=16)
    with quiet():
        config = transformers.SiglipConfig(text_config=CLIP_TEXT, vision_config=VISION)
        model = transformers.SiglipModel(config)
    return save_model(folder, model)


def vision_models() -> dict[str, Any]:
    """Architecture → a function that makes its tiny model."""
    t = transformers
    return {
        "vit": lambda: t.ViTModel(t.ViTConfig(**VISION), add_pooling_layer=False),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**VISION)),
        # As published: trained on larger pictures than its processor makes.
        "dinov2_resized": lambda: t.Dinov2Model(t.Dinov2Config(**{**VISION, "image_size": 56})),
        "vit_classifier": lambda: t.ViTForImageClassification(t.ViTConfig(**VISION, num_labels=3)),
        "resnet": lambda: t.ResNetModel(t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
        "dinov2_registers": lambda: t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**VISION)),
        "clip_vision": lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**VISION)),
        "clip_projection": lambda: t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**VISION, projection_dim=24)),
        "siglip_vision": lambda: t.SiglipVisionModel(t.SiglipVisionConfig(**VISION)),
        "convnext": lambda: t.ConvNextModel(
            t.ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], image_size=32)
        ),
        "swin": lambda: t.SwinModel(
            t.SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
        ),
    }


PROCESSORS: dict[str, dict[str, Any]] = {
    "resnet": {"size": {"shortest_edge": 32}},
    "dinov2_resized": {
        "size": {"shortest_edge": 36},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
    },
}


def vision(folder: Path, name: str) -> Path:
    """A folder of one of `vision_models`, with the processor record that some of them need."""
    save_model(folder, vision_models()[name]())
    if name in PROCESSORS:
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[name]))
    return folder


def sequence(folder: Path, *, causal: bool = True, normalize: bool = False) -> Path:
    """A tower over nine items `i0` … `i8`, with histories of at most twelve."""
    from encoders.towers.history import Shape
    from encoders.towers.sequence import SequenceTower

    torch.manual_seed(0)
    # As the two jobs build them.
    longest = 12 if causal else 13
    shape = Shape(hidden=8, layers=2, heads=2, longest=longest, dropout=0.0, causal=causal, first_norm=causal)
    return SequenceTower([f"i{item}" for item in range(9)], shape, normalize=normalize).save(folder)


def universal(folder: Path, *, ids: bool = False) -> Path:
    """A tower over nine items `i0` … `i8` with contents of four numbers, and histories of at most twelve."""
    from encoders.towers.adaptor import Adaptation
    from encoders.towers.history import Shape
    from encoders.towers.universal import UniversalTower

    torch.manual_seed(0)
    content = torch.nn.functional.normalize(torch.randn(9, 4), dim=-1).numpy()
    shape = Shape(hidden=8, layers=2, heads=2, longest=12, dropout=0.0)
    tower = UniversalTower([f"i{item}" for item in range(9)], content, shape, Adaptation(4, 3), ids=ids)
    torch.nn.init.normal_(tower.adaptor.gate.weight)
    if tower.table is not None:
        torch.nn.init.normal_(tower.table.weight)
    return tower.save(folder)


def projected(folder: Path) -> Path:
    """A tower over nine items `i0` … `i8` with contents of four numbers, and histories of at most twelve."""
    from encoders.towers.projected import ProjectedTower, Projection

    torch.manual_seed(0)
    content = torch.nn.functional.normalize(torch.randn(9, 4), dim=-1).numpy()
    return ProjectedTower([f"i{item}" for item in range(9)], content, Projection(8, 6, 0.2, 12)).save(folder)


AUDIO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def wav2vec2_config(**changes: Any) -> Any:
    """wav2vec 2.0 in small: the same strides, so 20 ms a frame."""
    return transformers.Wav2Vec2Config(
        **{**AUDIO, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
           "vocab_size": 32, "mask_time_prob": 0.0, **changes}
    )  # fmt: skip


def clap_config(**changes: Any) -> Any:
    """CLAP's audio half in small: its Swin stages over spectrograms."""
    audio = {
        "spec_size": 256, "num_mel_bins": 64, "patch_size": 4, "patch_stride": (4, 4), "patch_embeds_hidden_size": 8,
        "depths": [1, 1], "num_attention_heads": [2, 2], "window_size": 4, "hidden_size": 16, "num_hidden_layers": 2,
        "num_classes": 4, "projection_dim": 24, "enable_fusion": False, **changes,
    }  # fmt: skip
    text = {"vocab_size": 100, "max_position_embeddings": 66, **AUDIO, "projection_dim": 24}
    with quiet():
        return transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)


def audio_models() -> dict[str, Any]:
    """Architecture → a function that makes its tiny model."""
    t = transformers
    whisper = t.WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64, decoder_layers=1,
        decoder_attention_heads=4, decoder_ffn_dim=64, num_mel_bins=80, max_source_positions=100,
        max_target_positions=16, vocab_size=100, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    speech = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return {
        "wav2vec2": lambda: t.Wav2Vec2Model(wav2vec2_config()),
        "wav2vec2_layer_norm": lambda: t.Wav2Vec2Model(
            wav2vec2_config(feat_extract_norm="layer", do_stable_layer_norm=True)
        ),
        "hubert": lambda: t.HubertModel(t.HubertConfig(**AUDIO, **speech)),
        "wavlm": lambda: t.WavLMModel(t.WavLMConfig(**AUDIO, **speech)),
        "wav2vec2_ctc": lambda: t.Wav2Vec2ForCTC(wav2vec2_config()),
        "ast": lambda: t.ASTModel(t.ASTConfig(**AUDIO, max_length=64, num_mel_bins=128)),
        "whisper": lambda: t.WhisperModel(whisper),
        "clap": lambda: t.ClapModel(clap_config()),
        "clap_audio": lambda: t.ClapAudioModelWithProjection(clap_config().audio_config),
    }


def video_models() -> dict[str, Any]:
    """Architecture → a function that makes its tiny model."""
    t = transformers

    def xclip() -> Any:
        vision = {**VISION, "num_frames": 4, "mit_hidden_size": 24, "mit_num_hidden_layers": 1,
                  "mit_num_attention_heads": 4, "mit_intermediate_size": 64}  # fmt: skip
        with quiet():
            config = t.XCLIPConfig(
                text_config=CLIP_TEXT, vision_config=vision, projection_dim=24, prompt_num_attention_heads=4
            )
            return t.XCLIPModel(config)

    return {
        "videomae": lambda: t.VideoMAEModel(t.VideoMAEConfig(**VISION, num_frames=4, tubelet_size=2)),
        "xclip": xclip,
        "clip": lambda: t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**VISION, projection_dim=24)),
    }


def audio(folder: Path, name: str = "wav2vec2_layer_norm", **processor: Any) -> Path:
    """A folder of one of `audio_models`."""
    save_model(folder, audio_models()[name]())
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def video(folder: Path, name: str = "videomae") -> Path:
    """A folder of one of `video_models`."""
    return save_model(folder, video_models()[name]())


def fused(folder: Path, head: str = "gated", *, start: bool = False, **members: Path) -> Path:
    """A tower over exported tiny members, `text=bert(…)` and `image=vit(…)` unless others are given.

    Args:
        start: as a training starts, the mean of members of 24 numbers; otherwise random weights.
    """
    import encoders
    from encoders.towers.fused import FusedTower

    sources = members or {"text": bert(folder.parent / "bert"), "image": vit(folder.parent / "vit")}
    places = {modality: folder.parent / f"{modality}-encoder" for modality in sources}
    contracts = [
        encoders.export(source, places[modality], name=f"tiny_{modality}", modality=modality)
        for modality, source in sources.items()
    ]
    tower = FusedTower(
        contracts,
        head="gated" if head == "gated" else "concatenation",
        dimension=24,
        folders=places,
        aligned_with=(contracts[0].hash, *contracts[0].aligned_with) if start else (),
    )
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in () if start else tower.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return tower.save(folder)


def fused_defaults(folder: Path) -> Path:
    """A small head over the shipped encoders of text and pictures, in the text space."""
    import encoders
    from encoders.towers.fused import FusedTower

    contracts = [encoders.default_contract(name) for name in ("text", "image")]
    torch.manual_seed(5)
    tower = FusedTower(contracts, head="concatenation", dimension=384, hidden=8, aligned_with=(contracts[0].hash,))
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.02)
    return tower.save(folder)
