"""What is stored about each item, and how it can be searched: plain Feast, applied by `feast apply` too."""

from feast import Entity, FeatureService, Field, ValueType
from feast.types import Float64, String

from connector import content_view, embedding_view
from encoders import default_contract

# An encoder is named by its contract: what its vectors are, down to the hash of its weights.
TEXT = default_contract("text")
IMAGE = default_contract("image")

item = Entity(
    name="item",
    join_keys=["item_id"],
    value_type=ValueType.STRING,
)

# Beside every vector: returned by searches, open to filters such as `price < 50`.
carried = [
    Field(name="title", dtype=String),
    Field(name="kind", dtype=String),
    Field(name="colour", dtype=String),
    Field(name="pattern", dtype=String),
    Field(name="material", dtype=String),
    Field(name="price", dtype=Float64),
]

item_content = content_view(
    "item_content",
    entity=item,
    fields=[
        Field(name="title", dtype=String),
        Field(name="description", dtype=String),
        Field(name="kind", dtype=String),
        Field(name="colour", dtype=String),
        Field(name="pattern", dtype=String),
        Field(name="material", dtype=String),
        Field(name="price", dtype=Float64),
    ],
)

item_text = embedding_view(
    "item_text",
    entity=item,
    contract=TEXT,
    inputs=["title", "description"],
    fields=carried,
)

# The text encoder is aligned with the image encoder, so words find pictures too.
item_image = embedding_view(
    "item_image",
    entity=item,
    contract=IMAGE,
    inputs="image",
    queries=[TEXT],
    fields=carried,
)

item_details = FeatureService(name="item_details", features=[item_content])
