"""The text encoder: tokenised here, without transformers, and run in sub-batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.files import sha256_of_file
from encoders.folder import TOKENIZER, EncoderFolder
from encoders.media.text import TextPreprocessing
from encoders.runtime import Runtime
from encoders.workers import Workers

MAX_BYTES = 256 * 1024
# Padded tokens in one run. On a CPU what counts is that activations stay in a core's cache, on a GPU that it is busy.
CPU_TOKENS, GPU_TOKENS = 512, 32768
LEAST_TOKENS = 128


class TextEncoder(Encoder):
    """Texts to vectors.

    Args:
        contract: what the vectors are.
        preprocessing: prompts, truncation, padding.
        tokenizer: a `tokenizers.Tokenizer`; truncation is set here.
        runtime: takes `input_ids` and `attention_mask`, int64 [n, tokens].
        max_bytes: longest text accepted, UTF-8 bytes.
        token_budget: padded tokens in one run of the network.
    """

    def __init__(
        self,
        contract: EncoderContract,
        preprocessing: TextPreprocessing,
        tokenizer: Any,
        runtime: Runtime,
        *,
        max_bytes: int = MAX_BYTES,
        token_budget: int | None = None,
    ) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(preprocessing.max_tokens)
        self._contract = contract
        self._preprocessing = preprocessing
        self._tokenizer = tokenizer
        self._marks = int(tokenizer.num_special_tokens_to_add(False))
        self._runtime = runtime
        self._max_bytes = max_bytes
        self._token_budget = token_budget or (GPU_TOKENS if runtime.accelerated else CPU_TOKENS)
        self._workers = Workers(runtime.workers)

    @classmethod
    def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> TextEncoder:
        """Open an encoder folder on a runtime.

        Raises:
            EncoderLoadError: its tokenizer is missing or not the one it was exported with.
        """
        preprocessing = TextPreprocessing.from_dict(folder.preprocessing)
        path = folder.path / TOKENIZER
        if not path.is_file() or sha256_of_file(path) != preprocessing.tokenizer_sha256:
            raise EncoderLoadError(f"{path}: is missing or was changed after the export; export the encoder again")
        return cls(folder.contract, preprocessing, load_tokenizer(path.read_bytes()), runtime, **options)

    @property
    def contract(self) -> EncoderContract:
        """What the vectors are."""
        return self._contract

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode texts (`str` or UTF-8 `bytes`); bad rows are reported by index and never stop the others."""
        result = EncodeResult(np.zeros((len(items), self._contract.dimension), np.float32))
        prompt = self._preprocessing.prompts.get(side, "")
        texts: list[str] = []
        rows: list[int] = []
        for row, item in enumerate(items):
            try:
                texts.append(prompt + self._clean(item))
                rows.append(row)
            except InvalidInputError as error:
                result.errors[row] = error.reason
        if not texts:
            return result
        tokens: list[list[int]] = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        lengths = np.fromiter((len(ids) for ids in tokens), np.int64, len(tokens))
        # Where a prompt stands in front nothing can be told from the count: tokens merge across the seam.
        lengths[lengths <= (0 if prompt else self._marks)] = 0
        for position in np.flatnonzero(lengths == 0):
            result.errors[rows[position]] = "empty text (nothing in it that the tokenizer keeps)"

        def run(batch: list[int]) -> None:
            vectors = self._runtime.run(self._padded([tokens[position] for position in batch]))
            result.fill([rows[position] for position in batch], vectors)

        self._workers.each(run, list(self._batches(lengths)))
        return result

    def close(self) -> None:
        """Release the network."""
        self._workers.close()
        self._runtime.close()

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

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[list[int]]:
        """Positions in runs of like length, so that a short text never pays for a long neighbour's padding."""
        order = np.argsort(-lengths, kind="stable")
        order = order[lengths[order] > 0]
        # A batch too small to fill every worker is shared out, down to where a run costs more than it saves.
        share = max(LEAST_TOKENS, int(lengths.sum()) // self._runtime.workers)
        budget = min(self._token_budget, share)
        start = 0
        while start < len(order):
            width = self._preprocessing.max_tokens
            if self._preprocessing.padding == "longest":
                width = int(lengths[order[start]])
            # Padding is a neighbour, too.
            size = 1 if self._runtime.row_by_row else max(1, budget // width)
            yield order[start : start + size].tolist()
            start += size

    def _padded(self, tokens: list[list[int]]) -> dict[str, NDArray[np.int64]]:
        preprocessing = self._preprocessing
        width = max(map(len, tokens)) if preprocessing.padding == "longest" else preprocessing.max_tokens
        ids = np.full((len(tokens), width), preprocessing.pad_id, np.int64)
        mask = np.zeros((len(tokens), width), np.int64)
        for row, values in enumerate(tokens):
            ids[row, : len(values)] = values
            mask[row, : len(values)] = 1
        return {"input_ids": ids, "attention_mask": mask}


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
