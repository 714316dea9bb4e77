"""What a registry needs in Milvus, as Feast's `plan` shows and keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from feast import FeatureView, OnDemandFeatureView, StreamFeatureView
from feast.infra.infra_object import InfraObject
from feast.labeling import LabelView
from feast.protos.feast.core.InfraObject_pb2 import InfraObject as InfraObjectProto

from connector.errors import StoreError
from connector.stores.base import CollectionSpec
from connector.stores.specs import spec_from_json, spec_to_json

if TYPE_CHECKING:
    from feast.protos.feast.core.Registry_pb2 import Registry

CLASS_TYPE = "connector.stores.online_plan.MilvusCollection"


class MilvusCollection(InfraObject):  # type: ignore[misc]  # feast is untyped
    """A collection that a feature view needs. It says nothing of where Milvus is, nor of how to get in.

    Args:
        name: feature view, which is the collection's alias.
        spec: the collection.
    """

    def __init__(self, name: str, spec: CollectionSpec) -> None:
        super().__init__(name)
        self.spec = spec

    def to_infra_object_proto(self) -> InfraObjectProto:
        return InfraObjectProto(infra_object_class_type=CLASS_TYPE, custom_infra=self.to_proto())

    def to_proto(self) -> Any:
        record = json.dumps({"name": self.name, "spec": spec_to_json(self.spec)}, sort_keys=True)
        return InfraObjectProto.CustomInfra(field=record.encode())

    @staticmethod
    def from_infra_object_proto(infra_object_proto: InfraObjectProto) -> MilvusCollection:
        return MilvusCollection.from_proto(infra_object_proto.custom_infra)

    @staticmethod
    def from_proto(infra_object_proto: Any) -> MilvusCollection:
        try:
            record = json.loads(infra_object_proto.field)
            spec = spec_from_json(record["spec"])
            if spec is None:
                raise ValueError("no collection in it")
            return MilvusCollection(str(record["name"]), spec)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"a planned collection cannot be read ({error}); run `feast apply` again") from error

    def update(self) -> None:
        raise StoreError(f"collection of {self.name}: `feast apply` makes it through the online store")

    def teardown(self) -> None:
        raise StoreError(f"collection of {self.name}: `feast teardown` drops it through the online store")


def views_of_registry(registry: Registry) -> Iterator[Any]:
    """Every view of a registry that is served online."""
    for kind, protos in (
        (FeatureView, registry.feature_views),
        (StreamFeatureView, registry.stream_feature_views),
        (LabelView, registry.label_views),
        (OnDemandFeatureView, registry.on_demand_feature_views),
    ):
        for proto in protos:
            view = kind.from_proto(proto)
            if getattr(view, "write_to_online_store" if kind is OnDemandFeatureView else "online", True):
                yield view
