"""The encoder folder: the one form in which a served encoder lies on disk.

encoder.json    {"contract": …, "preprocessing": …, "source": …}
model.onnx      raw inputs of the network → vectors
tokenizer.json  for text
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError
from encoders.files import read_json, sha256_of_json

RECORD = "encoder.json"
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class EncoderFolder:
    """An encoder folder that was opened and found whole.

    Attributes:
        path: where it lies.
        contract: what its vectors are.
        preprocessing: record between raw bytes and the network, per modality.
        source: what it was exported from, for people to read.
    """

    path: Path
    contract: EncoderContract
    preprocessing: Mapping[str, Any]
    source: str = ""

    @classmethod
    def open(cls, path: str | Path) -> EncoderFolder:
        """Open a folder.

        Raises:
            EncoderLoadError: not an encoder folder, or its record and its contract disagree.
        """
        folder = Path(path)
        if not is_encoder_folder(folder):
            raise EncoderLoadError(f"{folder}: is not an encoder folder (no {RECORD}); write one with encoders.export")
        record = read_json(folder / RECORD)
        contract, preprocessing = record.get("contract"), record.get("preprocessing")
        if not isinstance(contract, dict) or not isinstance(preprocessing, dict):
            raise EncoderLoadError(f"{folder / RECORD}: lacks contract or preprocessing; export the encoder again")
        found = cls(folder, EncoderContract.from_dict(contract), preprocessing, str(record.get("source", "")))
        if sha256_of_json(preprocessing) != found.contract.preprocessing_hash:
            raise EncoderLoadError(
                f"{folder / RECORD}: preprocessing was changed after the export (its hash is not the contract's); "
                "export the encoder again"
            )
        return found

    @property
    def graph(self) -> Path:
        """The ONNX graph.

        Raises:
            EncoderLoadError: it is not there.
        """
        path = self.path / GRAPH
        if not path.is_file():
            raise EncoderLoadError(f"{self.path}: holds no {GRAPH}; export the encoder again")
        return path

    def record(self) -> dict[str, Any]:
        """What `encoder.json` holds."""
        return record_of(self.contract, self.preprocessing, self.source)

    def under(self, name: str, version: int) -> EncoderFolder:
        """The same folder, its contract under another name and version."""
        if (name, version) == (self.contract.name, self.contract.version):
            return self
        return replace(self, contract=self.contract.renamed(name, version))


def record_of(contract: EncoderContract, preprocessing: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The content of `encoder.json`."""
    return {"contract": json.loads(contract.to_json()), "preprocessing": dict(preprocessing), "source": source}


def is_encoder_folder(path: Path) -> bool:
    """Whether `encoder.json` is there."""
    return (path / RECORD).is_file()
