"""The encoder folder: the one form in which a served encoder lies on disk.

encoder.json    {"contract": …, "preprocessing": …, "source": …}
model.onnx      raw inputs of the network → vectors
graph.json      sha256 of model.onnx and what it was made from, written with it
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
from encoders.files import read_json, sha256_of_file, sha256_of_json, write_json

RECORD = "encoder.json"
GRAPH = "model.onnx"
GRAPH_RECORD = "graph.json"
TOKENIZER = "tokenizer.json"
# What of a contract is in its graph; a name and a version are not.
MADE_FROM = ("dimension", "normalized", "pooling", "preprocessing_hash", "weights_hash")


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
        """The ONNX graph, found to be the one that was exported for this encoder.

        Raises:
            EncoderLoadError: it is not there, is another, or was exported before graphs had a record.
        """
        require_graph(self.path, self.contract)
        return self.path / GRAPH

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


def write_graph_record(folder: Path, contract: EncoderContract) -> None:
    """Write down which graph lies in a folder and what it was made from; whoever writes a graph calls it."""
    write_json(folder / GRAPH_RECORD, {"sha256": sha256_of_file(folder / GRAPH), **_made_from(contract)})


def require_graph(folder: Path, contract: EncoderContract, *, whole: bool = True) -> None:
    """Check that the graph of a folder is the one that was exported for a contract.

    Args:
        whole: compare the graph's bytes with its record, too; a gigabyte takes a few seconds.

    Raises:
        EncoderLoadError: it is not there, is another, or was exported before graphs had a record.
    """
    remedy = "export or publish the encoder again (in the cache of exported encoders: delete the folder)"
    for name in (GRAPH, GRAPH_RECORD):
        if not (folder / name).is_file():
            raise EncoderLoadError(f"{folder}: holds no {name}; {remedy}")
    record = read_json(folder / GRAPH_RECORD)
    for field, value in _made_from(contract).items():
        if record.get(field) != value:
            raise EncoderLoadError(
                f"{folder}: its graph was exported for another encoder "
                f"({field} is {str(record.get(field))[:16]!r}, in the contract {str(value)[:16]!r}); {remedy}"
            )
    if whole and (found := sha256_of_file(folder / GRAPH)) != record.get("sha256"):
        raise EncoderLoadError(
            f"{folder / GRAPH}: is not the graph that was exported here (sha256 {found[:16]}…, "
            f"stated {str(record.get('sha256'))[:16]}…); {remedy}"
        )


def has_graph(folder: Path, contract: EncoderContract, *, whole: bool = True) -> bool:
    """Whether `require_graph` finds nothing."""
    try:
        require_graph(folder, contract, whole=whole)
    except EncoderLoadError:
        return False
    return True


def _made_from(contract: EncoderContract) -> dict[str, Any]:
    return {name: getattr(contract, name) for name in MADE_FROM}


def is_encoder_folder(path: Path) -> bool:
    """Whether `encoder.json` is there."""
    return (path / RECORD).is_file()
