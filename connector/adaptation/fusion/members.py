"""Vectors of a catalogue's items by their member encoders: made once, kept beside the job."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.adaptation.fusion.named_media import media_fingerprint
from connector.adaptation.fusion.spec import FusionSpec
from connector.errors import TrainingError
from connector.ingest.batch import Problem, cell
from connector.ingest.catalogue import Catalogue, open_catalogue
from connector.ingest.identity import fingerprint
from connector.ingest.media import MediaSource
from connector.ingest.parts import PartReader
from encoders.base import Encoder
from encoders.contract import EncoderContract
from encoders.files import new_folder, read_json, sha256_of_json, write_json
from encoders.fused import FusedPreprocessing
from encoders.wire import NO_SOUND

ROWS = 256
VECTORS = "vectors.safetensors"
RECORD = "record.json"
# Raised whenever other rows or vectors come of the same catalogue, so that kept ones are not used.
FORMAT = 2


@dataclass
class MemberVectors:
    """What a catalogue's items are to the head.

    Attributes:
        vectors: float32 [items, dimension of the member] by modality, unit length, zeros where absent.
        present: bool [items, members].
        groups: int64 [items], equal where rows show the same thing.
        texts: int64 [items], equal where rows have the same text vector; -1 without one.
        contracts: of the members, in order.
        folders: modality → encoder folder of a member that is not shipped.
        skipped: reason → rows with a part that could not be used.
    """

    vectors: dict[str, NDArray[np.float32]]
    present: NDArray[np.bool_]
    groups: NDArray[np.int64]
    texts: NDArray[np.int64]
    contracts: tuple[EncoderContract, ...]
    folders: dict[str, Path] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        """What a resumed job must find again: which rows have which parts, and which of them show the same thing."""
        found = hashlib.sha256()
        for array in (self.present, self.groups, self.texts):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def member_vectors(
    spec: FusionSpec, out: Path, on_rows: Callable[[int], None] | None = None, *, exported: bool = False
) -> MemberVectors:
    """Vectors of every item; those in `out/members`, if they were made from the same catalogue, media and encoders.

    A row with a part that is there and cannot be used (a broken picture) is left out and counted.

    Args:
        exported: another process of the job has exported the members already.

    Raises:
        CatalogueError: a catalogue that cannot be read.
        EncoderLoadError: an encoder that cannot be loaded.
        TrainingError: a column that is not there, or fewer than four items of several modalities.
    """
    catalogue = open_catalogue(spec.catalogue.path)
    for column in (*spec.catalogue.group, *(name for member in spec.members.values() for name in member.columns)):
        if column not in catalogue.columns:
            raise TrainingError(f"{spec.catalogue.path}: no column {column!r}; it has {', '.join(catalogue.columns)}")
    folders, opened = _open(spec, out / "encoders", exported)
    try:
        contracts = FusedPreprocessing(tuple(encoder.contract for encoder in opened.values())).members
        key = _key(spec, catalogue, contracts)
        kept = out / "members"
        if not (kept / RECORD).is_file() or read_json(kept / RECORD).get("key") != key:
            _make(spec, catalogue, opened, kept, key, on_rows or (lambda _: None))
    finally:
        for encoder in opened.values():
            encoder.close()
    found = _read(kept, spec, contracts, folders)
    if int((found.present.sum(axis=1) > 1).sum()) < 4:
        reasons = "; ".join(f"{reason} ({rows} rows)" for reason, rows in found.skipped.most_common(3))
        raise TrainingError(
            f"{spec.catalogue.path}: fewer than four items have several of {', '.join(spec.members)}"
            + (f": {reasons}; mend them, and remove {kept} to have them read again" if reasons else "")
        )
    return found


def _open(spec: FusionSpec, folder: Path, exported: bool) -> tuple[dict[str, Path], dict[str, Encoder]]:
    """Members by modality; those that are not shipped as encoder folders under their contract."""
    import encoders
    from encoders.source import DEFAULTS, default_name

    folders: dict[str, Path] = {}
    opened: dict[str, Encoder] = {}
    try:
        for modality, member in spec.members.items():
            source: str | Path = member.encoder
            name = member.name or default_name(member.encoder)
            if member.encoder not in DEFAULTS:
                if name in DEFAULTS:
                    raise TrainingError(
                        f"members.{modality}: {member.encoder} would be called {name!r}, as the shipped encoder is; "
                        "give it a name: of its own"
                    )
                source = folders[modality] = folder / modality
                if not exported:
                    encoders.export(member.encoder, source, name=name, version=member.version or 1, modality=modality)
            opened[modality] = encoders.load(source, name=name, version=member.version, runtime="onnx")
            if opened[modality].contract.modality != modality:
                raise TrainingError(
                    f"members.{modality}: {member.encoder} is a {opened[modality].contract.modality} encoder"
                )
        names = [(encoder.contract.name, encoder.contract.version) for encoder in opened.values()]
        if len(set(names)) < len(names):
            raise TrainingError(
                f"two members are called {max(names, key=names.count)[0]!r}; give each a name: of its own"
            )
    except BaseException:
        for encoder in opened.values():
            encoder.close()
        raise
    return folders, opened


def _key(spec: FusionSpec, catalogue: Catalogue, contracts: tuple[EncoderContract, ...]) -> str:
    record: dict[str, Any] = {
        "format": FORMAT,
        "files": fingerprint(catalogue.files),
        "catalogue": spec.catalogue.model_dump(exclude={"path"}),
        "columns": {name: member.columns for name, member in spec.members.items()},
        "contracts": [contract.hash for contract in contracts],
    }
    columns = [column for modality, member in spec.members.items() if modality != "text" for column in member.columns]
    media = media_fingerprint(catalogue, columns, spec.catalogue.media_root)
    return sha256_of_json(record if media is None else {**record, "media": media})


def _make(
    spec: FusionSpec,
    catalogue: Catalogue,
    opened: Mapping[str, Encoder],
    kept: Path,
    key: str,
    on_rows: Callable[[int], None],
) -> None:
    from safetensors.numpy import save_file

    source = spec.catalogue
    parts: dict[str, tuple[str, ...]] = {modality: member.columns for modality, member in spec.members.items()}
    columns = [*source.group, *(name for names in parts.values() for name in names)]
    made: dict[str, list[NDArray[np.float32]]] = {modality: [] for modality in opened}
    present: list[NDArray[np.bool_]] = []
    groups: list[str] = []
    skipped: Counter[str] = Counter()
    media = MediaSource(catalogue.location, media_root=source.media_root, max_bytes=source.max_media_bytes)
    try:
        reader = PartReader("", media, source.max_text_bytes)
        for batch in catalogue.batches(list(dict.fromkeys(columns)), ROWS):
            items: list[tuple[int, dict[str, Any]]] = []
            for row, item in reader.read_together(parts, batch.columns, np.arange(len(batch))):
                if isinstance(item, Problem):
                    skipped[f"{item.column}: {item.reason}"[:160]] += 1
                else:
                    items.append((row, item))
            good, vectors, there = _encode(items, opened, skipped)
            for modality in opened:
                made[modality].append(vectors[modality])
            present.append(there)
            skipped.update(f"row: {reason}"[:160] for reason in batch.broken.values())
            for row in good:
                # Parts of one catalogue may lack a column that others have.
                held = [cell(batch.columns[name], row) if name in batch.columns else None for name in source.group]
                # A row of no group is one of its own.
                groups.append(f"alone {len(groups)}" if None in held else repr(list(map(str, held))))
            on_rows(len(batch) + len(batch.broken))
    finally:
        media.close()
    if not groups:
        raise TrainingError(f"{source.path}: not one item can be used: {'; '.join(skipped) or 'it holds no rows'}")
    numbers: dict[str, int] = {}
    order = [numbers.setdefault(group, len(numbers)) for group in groups] if source.group else range(len(groups))
    with new_folder(kept) as filling:
        tensors = {modality: np.concatenate(blocks) for modality, blocks in made.items()}
        save_file(
            {**tensors, "present": np.concatenate(present), "groups": np.asarray(order, np.int64)}, filling / VECTORS
        )
        write_json(filling / RECORD, {"key": key, "skipped": dict(skipped)})


def _encode(
    items: list[tuple[int, dict[str, Any]]], opened: Mapping[str, Encoder], skipped: Counter[str]
) -> tuple[list[int], dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """Rows that are kept, their vectors by modality, and which are there."""
    vectors: dict[str, NDArray[np.float32]] = {}
    present = np.zeros((len(items), len(opened)), bool)
    bad: set[int] = set()
    for at, (modality, encoder) in enumerate(opened.items()):
        vectors[modality] = np.zeros((len(items), encoder.contract.dimension), np.float32)
        rows = [index for index, (_, item) in enumerate(items) if modality in item]
        if not rows:
            continue
        result = encoder.encode_tolerant([items[index][1][modality] for index in rows])
        norms = np.linalg.norm(result.vectors, axis=1, keepdims=True)
        vectors[modality][rows] = result.vectors / np.maximum(norms, 1e-12)
        present[rows, at] = True
        for index, reason in result.errors.items():
            if reason == NO_SOUND:
                # A film without a sound track lacks that part; nothing of it is broken.
                present[rows[index], at] = False
                continue
            bad.add(rows[index])
            skipped[f"{modality}: {reason}"[:160]] += 1
    empty = set(np.flatnonzero(~present.any(axis=1)).tolist())
    skipped.update({"nothing of the item is there": len(empty)} if empty else {})
    kept = [index for index in range(len(items)) if index not in bad | empty]
    return [items[index][0] for index in kept], {name: block[kept] for name, block in vectors.items()}, present[kept]


def _read(
    kept: Path, spec: FusionSpec, contracts: tuple[EncoderContract, ...], folders: dict[str, Path]
) -> MemberVectors:
    from safetensors.numpy import load_file

    tensors = load_file(kept / VECTORS)
    texts = np.full(len(tensors["groups"]), -1, np.int64)
    if "text" in spec.members:
        at = list(spec.members).index("text")
        rows = np.flatnonzero(tensors["present"][:, at])
        digests = [hashlib.sha256(tensors["text"][row].tobytes()).digest() for row in rows]
        numbers: dict[bytes, int] = {}
        texts[rows] = [numbers.setdefault(digest, len(numbers)) for digest in digests]
    return MemberVectors(
        vectors={modality: tensors[modality] for modality in spec.members},
        present=tensors["present"].astype(bool),
        groups=tensors["groups"],
        texts=texts,
        contracts=contracts,
        folders=folders,
        skipped=Counter(read_json(kept / RECORD)["skipped"]),
    )
