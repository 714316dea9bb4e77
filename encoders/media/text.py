"""What happens to a text before the network sees it, as one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from encoders.errors import EncoderLoadError
from encoders.files import read_json, sha256_of_file

MOST_TOKENS = 8192
DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class TextPreprocessing:
    """Prompt, lower-casing, tokens, truncation and padding.

    Attributes:
        max_tokens: tokens kept of a text, special tokens included.
        tokenizer_sha256: of `tokenizer.json`.
        padding: `longest` of the batch, or always to `max_tokens` (SigLIP was trained so).
        pad_id: token that fills a row up.
        lowercase: whether the text is lower-cased before the tokenizer's own rules.
        prompts: side → text put in front.
    """

    max_tokens: int
    tokenizer_sha256: str
    padding: Literal["longest", "max_tokens"] = "longest"
    pad_id: int = 0
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens <= MOST_TOKENS or self.padding not in {"longest", "max_tokens"}:
            raise EncoderLoadError(
                f"text preprocessing: max_tokens {self.max_tokens} is not within 1..{MOST_TOKENS}, "
                f"or padding {self.padding!r} is unknown"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the one that is hashed."""
        return {**asdict(self), "prompts": dict(self.prompts)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TextPreprocessing:
        """Read `to_dict`'s form.

        Raises:
            EncoderLoadError: fields missing, unknown or senseless.
        """
        try:
            return cls(**record)
        except TypeError as error:
            raise EncoderLoadError(f"text preprocessing: {error}") from error

    @classmethod
    def from_folder(cls, folder: Path, **changes: Any) -> TextPreprocessing:
        """Read a sentence-transformers or Hugging Face folder that holds a `tokenizer.json`.

        Args:
            changes: fields that the architecture fixes, whatever the folder says.

        Raises:
            EncoderLoadError: no tokenizer.json, or files that contradict each other.
        """
        tokenizer = folder / "tokenizer.json"
        if not tokenizer.is_file():
            raise EncoderLoadError(
                f"{folder}: holds no tokenizer.json; save the fast tokenizer there with "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        config = _optional(folder / "config.json")
        config = config.get("text_config") or config
        settings = _optional(folder / "tokenizer_config.json")
        sentence = _optional(folder / "sentence_bert_config.json")
        limits = [
            sentence.get("max_seq_length"),
            None if sentence.get("max_seq_length") else settings.get("model_max_length"),
            _positions(config),
        ]
        fields: dict[str, Any] = {
            "max_tokens": int(min([limit for limit in limits if limit] or [512])),
            "tokenizer_sha256": sha256_of_file(tokenizer),
            "pad_id": _pad_id(tokenizer, settings, config),
            "lowercase": bool(sentence.get("do_lower_case", False)),
            "prompts": cls.prompts_of(_optional(folder / "config_sentence_transformers.json")),
        }
        return cls(**{**fields, **changes})

    @staticmethod
    def prompts_of(record: Mapping[str, Any]) -> dict[str, str]:
        """Side → prompt, out of `config_sentence_transformers.json`."""
        given = record.get("prompts") or {}
        fallback = given.get(record.get("default_prompt_name") or "", "")
        document = next((given[name] for name in DOCUMENT_PROMPTS if given.get(name)), fallback)
        prompts = {"query": given.get("query") or fallback, "document": document}
        return {side: str(text) for side, text in prompts.items() if text}


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _positions(config: Mapping[str, Any]) -> int | None:
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 1:
        return None
    # RoBERTa's positions start after the padding id, so that many of them are never used.
    shifted = config.get("model_type") in {
        "roberta",
        "xlm-roberta",
        "camembert",
        "mpnet",
        "longformer",
        "clap_text_model",
    }
    return positions - 2 if shifted else positions


def _pad_id(tokenizer: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    token = settings.get("pad_token")
    content = token.get("content") if isinstance(token, dict) else token
    if content is not None:
        record = read_json(tokenizer)
        for added in record.get("added_tokens") or ():
            if added.get("content") == content:
                return int(added["id"])
        vocabulary = (record.get("model") or {}).get("vocab")
        if isinstance(vocabulary, dict) and content in vocabulary:
            return int(vocabulary[content])
    return int(config.get("pad_token_id") or 0)
