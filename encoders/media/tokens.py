"""From texts to padded tokens: what stands between a text and its network, in process, on Triton and in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.media.text import TextPreprocessing

MAX_BYTES = 256 * 1024


@dataclass
class Tokens:
    """Token ids of texts.

    Attributes:
        ids: of each text that can be used, special tokens included.
        rows: positions of those texts among all that were given.
        errors: position → reason, of the others.
    """

    ids: list[list[int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)


class TextTokenizer:
    """Texts to token ids.

    Args:
        preprocessing: prompts, truncation, padding.
        tokenizer: a `tokenizers.Tokenizer`; truncation is set here.
        max_bytes: longest text accepted, UTF-8 bytes.
    """

    def __init__(self, preprocessing: TextPreprocessing, tokenizer: Any, *, max_bytes: int = MAX_BYTES) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(preprocessing.max_tokens)
        self._preprocessing, self._tokenizer, self._max_bytes = preprocessing, tokenizer, max_bytes
        self._marks = int(tokenizer.num_special_tokens_to_add(False))

    def tokens(self, items: Sequence[Any], side: str = "document") -> Tokens:
        """Tokenise texts (`str` or UTF-8 `bytes`); bad ones are reported by position and never stop the others."""
        found = Tokens()
        prompt = self._preprocessing.prompts.get(side, "")
        texts: list[str] = []
        rows: list[int] = []
        for row, item in enumerate(items):
            try:
                texts.append(prompt + self._clean(item))
                rows.append(row)
            except InvalidInputError as error:
                found.errors[row] = error.reason
        # Where a prompt stands in front nothing can be told from the count: tokens merge across the seam.
        least = 0 if prompt else self._marks
        for row, encoding in zip(rows, self._tokenizer.encode_batch_fast(texts) if texts else (), strict=True):
            ids = encoding.ids
            if len(ids) <= least:
                found.errors[row] = "empty text (nothing in it that the tokenizer keeps)"
            else:
                found.ids.append(ids)
                found.rows.append(row)
        return found

    def padded(self, ids: Sequence[Sequence[int]]) -> Mapping[str, NDArray[np.int64]]:
        """Token ids → `input_ids` and `attention_mask`, int64 [texts, tokens]; the mask is 1 on tokens."""
        width = self.width(max(map(len, ids)))
        padded = np.full((len(ids), width), self._preprocessing.pad_id, np.int64)
        mask = np.zeros((len(ids), width), np.int64)
        for row, values in enumerate(ids):
            padded[row, : len(values)] = values
            mask[row, : len(values)] = 1
        return {"input_ids": padded, "attention_mask": mask}

    def width(self, longest: int) -> int:
        """Tokens of a row in a batch whose longest text has so many."""
        return longest if self._preprocessing.padding == "longest" else self._preprocessing.max_tokens

    def _clean(self, item: Any) -> str:
        if isinstance(item, (bytes, bytearray, memoryview)):
            size = len(item) if not isinstance(item, memoryview) else item.nbytes
            self._require_size(size)
            try:
                text = bytes(item).decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidInputError(f"text is not UTF-8 (byte {error.start})") from error
        elif isinstance(item, str):
            text = item
            if len(text) > self._max_bytes // 4:
                self._require_size(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")))
            if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                raise InvalidInputError("text holds a lone surrogate, which is no character")
        elif item is None:
            raise InvalidInputError("text is null")
        else:
            raise InvalidInputError(f"expected str or UTF-8 bytes, got {type(item).__name__}")
        if not text or text.isspace():
            raise InvalidInputError("empty text")
        return text.lower() if self._preprocessing.lowercase else text

    def _require_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise InvalidInputError(f"text of {size} bytes is over the limit of {self._max_bytes}")


def load_tokenizer(content: bytes) -> Any:
    """Read `tokenizer.json`.

    Raises:
        EncoderLoadError: it is damaged.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_buffer(content)
    except Exception as error:
        raise EncoderLoadError(f"tokenizer.json is damaged ({' '.join(str(error).split())[:160]})") from error
