"""The text encoder: tokenised here, without transformers, and run in sub-batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError
from encoders.files import sha256_of_file
from encoders.folder import TOKENIZER, EncoderFolder
from encoders.media.text import TextPreprocessing
from encoders.media.tokens import MAX_BYTES, TextTokenizer, load_tokenizer
from encoders.runtime import Runtime
from encoders.workers import Workers

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
        self._contract = contract
        self._tokenizer = TextTokenizer(preprocessing, tokenizer, max_bytes=max_bytes)
        self._runtime = runtime
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
        tokens = self._tokenizer.tokens(items, side)
        result = EncodeResult(np.zeros((len(items), self._contract.dimension), np.float32), tokens.errors)

        def run(batch: list[int]) -> None:
            vectors = self._runtime.run(self._tokenizer.padded([tokens.ids[position] for position in batch]))
            result.fill([tokens.rows[position] for position in batch], vectors)

        self._workers.each(run, list(self._batches(np.fromiter(map(len, tokens.ids), np.int64, len(tokens.ids)))))
        return result

    def close(self) -> None:
        """Release the network."""
        self._workers.close()
        self._runtime.close()

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[list[int]]:
        """Positions in runs of like length, so that a short text never pays for a long neighbour's padding."""
        order = np.argsort(-lengths, kind="stable")
        # A batch too small to fill every worker is shared out, down to where a run costs more than it saves.
        share = max(LEAST_TOKENS, int(lengths.sum()) // self._runtime.workers)
        budget = min(self._token_budget, share)
        start = 0
        while start < len(order):
            width = self._tokenizer.width(int(lengths[order[start]]))
            # Padding is a neighbour, too.
            size = 1 if self._runtime.row_by_row else max(1, budget // width)
            yield order[start : start + size].tolist()
            start += size
