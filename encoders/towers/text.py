"""The text tower: a Hugging Face text backbone, a pooling and what a sentence-transformers folder adds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.errors import EncoderLoadError
from encoders.files import new_folder, sha256_of_file, write_bytes
from encoders.folder import TOKENIZER
from encoders.media.text import TextPreprocessing
from encoders.towers.base import Batch, Description, Served, shared_space
from encoders.towers.folder import load_backbone, read_config
from encoders.towers.saving import (
    RECORD,
    Precision,
    load_state,
    read_record,
    save_backbone,
    save_state,
    write_record,
)
from encoders.towers.sentence import dense_layers, described_layers, read_modules
from encoders.weight_files import WEIGHTS_HASH, require_stated_weights, weights_hash

HEAD = "head.safetensors"
TWO_TOWERS = {"clip", "siglip", "clap", "xclip"}
POOLINGS = {"clip": "projection", "siglip": "pooler", "clap": "projection", "xclip": "projection"}


class TextTower(nn.Module):
    """Tokens to vectors.

    Args:
        backbone: a transformers text model.
        preprocessing: from a text to tokens.
        tokenizer: content of `tokenizer.json`.
        pooling: `mean`, `cls`, `max`, `mean_sqrt_len_tokens`, `lasttoken`; of two-tower models `projection`, `pooler`.
        head: what follows the pooling (dense layers of a sentence-transformers folder).
        normalize: whether vectors are scaled to unit L2 norm.
        aligned_with: hashes of contracts whose space these vectors were trained into.
    """

    def __init__(
        self,
        backbone: Any,
        preprocessing: TextPreprocessing,
        tokenizer: bytes,
        *,
        pooling: str = "mean",
        head: nn.Module | None = None,
        normalize: bool = True,
        aligned_with: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.head = head if head is not None else nn.Identity()
        self.preprocessing = preprocessing
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.normalize = normalize
        self.aligned_with = aligned_with

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [n, tokens] twice → float32 [n, dim]; the mask is 1 on tokens and 0 on padding."""
        # A model that was trained on padding to full length (SigLIP) attends to it and is given no mask.
        masked = {} if self.preprocessing.padding == "max_tokens" else {"attention_mask": attention_mask}
        pooled = self.head(self._pool(self.backbone(input_ids=input_ids, **masked), attention_mask))
        return functional.normalize(pooled, dim=-1) if self.normalize else pooled

    def _pool(self, output: Any, attention_mask: Tensor) -> Tensor:
        if self.pooling == "projection":
            return output.text_embeds  # type: ignore[no-any-return]
        if self.pooling == "pooler":
            return output.pooler_output  # type: ignore[no-any-return]
        states: Tensor = output.last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        if self.pooling == "max":
            return states.masked_fill(mask == 0, torch.finfo(states.dtype).min).amax(dim=1)
        if self.pooling == "lasttoken":
            last = attention_mask.sum(dim=1) - 1
            return states.gather(1, last.view(-1, 1, 1).expand(-1, 1, states.shape[2])).squeeze(1)
        count = mask.sum(dim=1).clamp(min=1e-9)
        return (states * mask).sum(dim=1) / (count.sqrt() if self.pooling == "mean_sqrt_len_tokens" else count)

    @classmethod
    def from_folder(cls, path: str | Path) -> TextTower:
        """Load a sentence-transformers folder, a plain Hugging Face one (mean pooling), a CLIP or SigLIP text half, or
        a tower folder.

        Raises:
            EncoderLoadError: pickled, incomplete or changed weights, or modules that are not understood.
        """
        folder = Path(path)
        record = read_record(folder)
        if record.get("modality") == "text":
            return cls._saved(folder, record)
        aligned: tuple[str, ...] = ()
        if (folder / "modules.json").is_file():
            modules = read_modules(folder)
            backbone = _load_text_model(modules.transformer)
            preprocessing = TextPreprocessing.from_folder(modules.transformer, **modules.preprocessing)
            head, pooling, normalize = modules.head, modules.pooling, modules.normalize
            tokenizer = (modules.transformer / TOKENIZER).read_bytes()
        else:
            config = read_config(folder)
            fixed = {"padding": "max_tokens"} if "siglip" in config.model_type else {}
            preprocessing = TextPreprocessing.from_folder(folder, **fixed)
            backbone, head, normalize = _load_text_model(folder, config), None, True
            pooling = POOLINGS.get(config.model_type.split("_")[0], "mean")
            aligned = (shared_space(folder),) if config.model_type in TWO_TOWERS else ()
            tokenizer = (folder / TOKENIZER).read_bytes()
        return cls(
            backbone, preprocessing, tokenizer, pooling=pooling, head=head, normalize=normalize, aligned_with=aligned
        ).eval()

    @classmethod
    def _saved(cls, folder: Path, record: dict[str, Any]) -> TextTower:
        require_stated_weights(folder)
        try:
            preprocessing = TextPreprocessing.from_dict(record["preprocessing"])
            layers, pooling, normalize = record["head"], str(record["pooling"]), bool(record["normalize"])
            head = dense_layers(layers) if layers else None
        except (KeyError, TypeError) as error:
            raise EncoderLoadError(f"{folder / RECORD}: is no record of a text tower ({error})") from error
        if head is not None:
            load_state(head, folder / HEAD)
        tokenizer = folder / TOKENIZER
        if not tokenizer.is_file() or sha256_of_file(tokenizer) != preprocessing.tokenizer_sha256:
            raise EncoderLoadError(f"{tokenizer}: is missing or was changed; copy the folder again, whole")
        tower = cls(
            _load_text_model(folder),
            preprocessing,
            tokenizer.read_bytes(),
            pooling=pooling,
            head=head,
            normalize=normalize,
            aligned_with=tuple(map(str, record.get("aligned_with", ()))),
        )
        return tower.eval()

    def save(self, path: str | Path, *, dtype: Precision = "float32", card: str | None = None) -> Path:
        """Write a tower folder, replacing one that is there, all of it or nothing.

        Args:
            dtype: of the weights on disk; they are upcast to float32 when loaded.
            card: text of README.md.
        """
        record = {
            "modality": "text",
            "pooling": self.pooling,
            "normalize": self.normalize,
            "preprocessing": self.preprocessing.to_dict(),
            "head": described_layers(self.head),
            "aligned_with": list(self.aligned_with),
        }
        with new_folder(Path(path)) as folder:
            save_backbone(self.backbone, folder, dtype)
            if record["head"]:
                save_state(self.head, folder / HEAD, dtype)
            write_bytes(folder / TOKENIZER, self.tokenizer)
            write_record(folder, {**record, WEIGHTS_HASH: weights_hash(folder)}, card)
        return Path(path)

    def describe(self) -> Description:
        """What its contract needs."""
        with torch.no_grad():
            dimension = int(self(**self._sample(1, 0)).shape[1])
        return Description(
            modality="text",
            dimension=dimension,
            pooling=self.pooling,
            normalized=self.normalize,
            max_input=self.preprocessing.max_tokens,
            preprocessing=self.preprocessing.to_dict(),
            aligned_with=self.aligned_with,
            files={TOKENIZER: self.tokenizer},
        )

    def served(self) -> Served:
        """The module that is turned into a graph."""
        fixed = self.preprocessing.padding == "max_tokens"
        axes = {0: "texts"} if fixed else {0: "texts", 1: "tokens"}
        return Served(
            module=self,
            sample=self._sample,
            axes={"input_ids": axes, "attention_mask": axes},
        )

    def _sample(self, rows: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        longest = self.preprocessing.max_tokens
        width = longest if self.preprocessing.padding == "max_tokens" else min(longest, 11 + 6 * seed)
        vocabulary = int(self.backbone.config.vocab_size)
        ids = torch.randint(0, vocabulary, (rows, width), generator=generator)
        lengths = torch.randint(1, width + 1, (rows, 1), generator=generator)
        lengths[0] = width
        mask = (torch.arange(width).unsqueeze(0) < lengths).long()
        return {"input_ids": torch.where(mask.bool(), ids, self.preprocessing.pad_id), "attention_mask": mask}


class XclipText(nn.Module):
    """The text half of X-CLIP, without the prompts that its video half would add to it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text_model, self.text_projection = model.text_model, model.text_projection
        self.config = model.config.text_config

    def forward(self, **tokens: Tensor) -> Any:
        """Tokens → an object with `text_embeds` [n, dim]."""
        return SimpleNamespace(text_embeds=self.text_projection(self.text_model(**tokens).pooler_output))


def _load_text_model(folder: Path, config: Any = None) -> Any:
    import transformers

    config = config if config is not None else read_config(folder)
    kind = config.model_type
    text = getattr(config, "text_config", config)
    if kind in {"clip", "clip_text_model"}:
        if hasattr(config, "text_config"):
            text.projection_dim = config.projection_dim
        return load_backbone(transformers.CLIPTextModelWithProjection, folder, config=text)
    if kind in {"siglip", "siglip_text_model"}:
        return load_backbone(transformers.SiglipTextModel, folder, config=text)
    if kind in {"clap", "clap_text_model"}:
        if hasattr(config, "text_config"):
            text.projection_dim = config.projection_dim
        return load_backbone(transformers.ClapTextModelWithProjection, folder, config=text)
    if kind == "xclip":
        return XclipText(load_backbone(transformers.XCLIPModel, folder))
    known = transformers.AutoModel._model_mapping
    if type(config) not in known or known[type(config)].main_input_name != "input_ids" or config.is_encoder_decoder:
        raise EncoderLoadError(
            f"{folder}: a {kind} model is no text encoder; "
            "give a BERT-like, sentence-transformers, CLIP or SigLIP folder"
        )
    return load_backbone(transformers.AutoModel, folder, may_lack=("pooler",))
