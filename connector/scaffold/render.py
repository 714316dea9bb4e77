"""A shape → the text of every file of its repository.

Names that come from a catalogue are only ever written as Python or JSON literals, or after `identifier` has made plain
names of them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from connector.scaffold.media import MEDIA, Medium
from connector.scaffold.shape import Column, Shape, identifier

MILVUS_LITE = "data/milvus.db"
MODEL_REPOSITORY = "triton_models"
_PLURALS: dict[Medium, str] = {"image": "pictures", "audio": "sounds", "video": "films"}


@dataclass(frozen=True)
class Endpoints:
    """Where the servers of a repository are.

    Attributes:
        milvus: path of a Milvus Lite file, or URI of a server.
        triton: gRPC endpoint `host:port`, or None for the local one.
        model_repository: folder of the Triton models, relative to the repository.
    """

    milvus: str = MILVUS_LITE
    triton: str | None = None
    model_repository: str = MODEL_REPOSITORY


def render(shape: Shape, endpoints: Endpoints) -> dict[str, str]:
    """File name → text."""
    return {
        "feature_store.yaml": feature_store_yaml(shape, endpoints),
        "connector.yaml": connector_yaml(endpoints),
        "features.py": features_py(shape),
        ".feastignore": feastignore(endpoints),
        ".gitignore": "# Written by the connector, Feast and Milvus Lite.\ndata/\n.connector/\n",
        "README.md": readme(shape),
    }


def feature_store_yaml(shape: Shape, endpoints: Endpoints) -> str:
    return f"""\
# Feast's own configuration; every Feast command works in this folder.
project: {_yaml(shape.project)}
provider: local
registry:
  path: data/registry.db
  registry_store_type: connector.stores.registry.AtomicFileRegistryStore
offline_store:
  type: dask
online_store:
  type: connector.stores.online.MilvusOnlineStore
  # A file: Milvus Lite, inside this process. A server: http://host:19530.
  uri: {_yaml(endpoints.milvus)}
# Materialises Parquet into Milvus as Arrow; Feast's own engine (`local`) does the same several times slower.
batch_engine:
  type: connector.stores.engine.ArrowComputeEngine
entity_key_serialization_version: 3
"""


def connector_yaml(endpoints: Endpoints) -> str:
    url = "# url: localhost:8001" if endpoints.triton is None else f"url: {_yaml(endpoints.triton)}"
    return f"""\
# Settings beside feature_store.yaml. Each can be set by an environment variable too: CONNECTOR_TRITON__URL=host:8001
triton:
  # gRPC endpoint of a Triton server; without one, the local server that `connector up` starts.
  {url}
  # server: always Triton. process: the same encoders in this process. auto: Triton where it is up or can be started.
  mode: auto
  # Folder of the Triton models, relative to this file.
  model_repository: {_yaml(endpoints.model_repository)}
  # batch_size: 64
  # in_flight: 4
  # response_cache_mb: 64  # answers that the local server remembers
  # timeout_s: 60
  # retries: 7
  # tls: false
  # headers: {{}}

# ingest:
#   batch_rows: 512
#   max_media_bytes: 33554432
#   max_text_bytes: 262144
"""


def features_py(shape: Shape) -> str:
    entity = identifier(shape.entity, "entity")
    types = sorted({column.dtype for column in (*shape.content, *shape.carried)})
    key_type = {"String": "STRING", "Int64": "INT64"}[shape.key.dtype]
    feast_types = f"from feast.types import {', '.join(types)}\n" if types else ""
    fields = " Field," if types else ""
    encoders = ["text", *(medium for medium in MEDIA if medium in shape.media.values())]
    constants = [f'{encoder.upper()} = default_contract("{encoder}")' for encoder in encoders]
    parts = [
        f'''\
"""What is stored about each {shape.entity}, and how it can be searched: plain Feast, applied by `feast apply` too."""

from feast import Entity, FeatureService,{fields} ValueType
{feast_types}
from connector import content_view, embedding_view
from encoders import default_contract

# An encoder is named by its contract: what its vectors are, down to the hash of its weights.
''',
        "\n".join(constants) + "\n",
        f"\n{entity} = Entity(\n    name={_py(shape.entity)},\n    join_keys=[{_py(shape.key.name)}],\n"
        f"    value_type=ValueType.{key_type},\n)\n",
    ]
    views = []
    if shape.carried:
        parts.append(
            f"\n# Beside every vector: returned by searches, open to filters such as {_example_filter(shape)}.\n"
            f"carried = {_fields(shape.carried)}\n"
        )
    carried = ",\n    fields=carried" if shape.carried else ""
    if shape.content:
        views.append(f"{entity}_content")
        parts.append(
            f"\n{views[-1]} = content_view(\n    {_py(f'{shape.entity}_content')},\n    entity={entity},\n"
            f"    fields={_fields(shape.content, 4)},\n)\n"
        )
    if shape.text:
        views.append(f"{entity}_text")
        parts.append(
            f"\n{views[-1]} = embedding_view(\n    {_py(f'{shape.entity}_text')},\n    entity={entity},\n"
            f"    contract=TEXT,\n    inputs={_list(shape.text)}{carried},\n)\n"
        )
    for column, space in shape.media_spaces().items():
        medium = shape.media[column]
        views.append(space)
        parts.append(
            f"\n# The text encoder is aligned with the {medium} encoder, so words find {_PLURALS[medium]} too.\n"
            f"{space} = embedding_view(\n    {_py(space)},\n    entity={entity},\n    contract={medium.upper()},\n"
            f"    inputs={_py(column)},\n    queries=[TEXT]{carried},\n)\n"
        )
    if shape.content:
        parts.append(
            f"\n{entity}_details = FeatureService(name={_py(f'{shape.entity}_details')}, features=[{entity}_content])\n"
        )
    return "".join(parts)


def feastignore(endpoints: Endpoints) -> str:
    inside = not endpoints.model_repository.startswith(("..", "/"))
    lines = ["# Folders whose Python files declare no features.", ".connector", "data"]
    return "\n".join([*lines, *([endpoints.model_repository] if inside else [])]) + "\n"


def readme(shape: Shape) -> str:
    spaces = shape.spaces()
    renames = "".join(f" \\\n  --map {_shell(f'{name}={column}')}" for name, column in sorted(shape.renamed.items()))
    where = f" --where {_shell(_example_filter(shape, ticks=False))}" if shape.carried else ""
    left_out = "".join(f"- {json.dumps(name)}: {reason}\n" for name, reason in shape.left_out.items())
    return f"""\
# {shape.project}

A Feast repository with embedding spaces in Milvus: {", ".join(f"`{space}`" for space in spaces)}.

```sh
connector apply                       # registry, collections, encoders; `feast apply` works too
connector ingest items.parquet --entity {shape.entity}{renames}
connector search {spaces[0]} --text "what you are looking for"{where}
```

| File | What it says |
|---|---|
| `feature_store.yaml` | Feast's configuration; Milvus is its online store |
| `features.py` | the entity, the content view and the embedding spaces |
| `connector.yaml` | where encoders run, bounds of an ingest |
| `data/` | registry, offline log and Milvus Lite file; made by the commands |
{f"{chr(10)}Columns of the catalogue that nothing was made of:{chr(10)}{chr(10)}{left_out}" if left_out else ""}"""


def _fields(columns: tuple[Column, ...], indent: int = 0) -> str:
    space = " " * indent
    lines = [f"{space}    Field(name={_py(column.name)}, dtype={column.dtype}),\n" for column in columns]
    return f"[\n{''.join(lines)}{space}]"


def _example_filter(shape: Shape, ticks: bool = True) -> str:
    numbers = [column for column in shape.carried if column.middle is not None]
    words = [column for column in shape.carried if column.dtype == "String"]
    if numbers:
        text = f"{numbers[-1].name} < {numbers[-1].middle:.4g}"
    elif words:
        text = f"{words[-1].name} = 'value'"
    else:
        text = f"{shape.carried[0].name} IS NOT NULL"
    return f"`{text}`" if ticks else text


def _list(names: tuple[str, ...]) -> str:
    return f"[{', '.join(_py(name) for name in names)}]"


def _py(text: str) -> str:
    """A Python string literal, ASCII only."""
    return f'"{text}"' if re.fullmatch(r"[A-Za-z0-9_ .:/()-]*", text) else ascii(text)


def _yaml(text: str) -> str:
    """A YAML scalar: JSON's strings are YAML's; plain where that reads the same."""
    plain = text.replace("_", "").replace("/", "").replace(".", "").replace("-", "").isalnum() and text.isascii()
    return (
        text
        if plain and text[0].isalpha() and text.lower() not in _YAML_WORDS
        else json.dumps(text, ensure_ascii=False)
    )


_YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
