"""Which class serves a modality. A third party adds one in a single file: `@register("audio")` on its encoder class.

Where that file is not imported by anyone (beside Triton, say), its package names it under the entry-point group
`multimodal_connector.encoders`: modality → `module:Class`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar

from encoders.errors import EncoderLoadError

GROUP = "multimodal_connector.encoders"
Kind = TypeVar("Kind", bound=type)


@dataclass
class EncoderRegistry:
    """Modality → class path (imported when first asked for) or class.

    Attributes:
        served: modality → class with `from_folder(EncoderFolder, Runtime, **options) -> Encoder`.
        towers: modality → class with `from_folder(path)`, the `encoders.towers.base.Tower` that is exported.
    """

    served: dict[str, str | type] = field(default_factory=dict)
    towers: dict[str, str | type] = field(default_factory=dict)

    def encoder_class(self, modality: str) -> Any:
        """Class that serves `modality`.

        Raises:
            EncoderLoadError: nobody registered one.
        """
        return self._resolve(self.served, modality, "encoder")

    def tower_class(self, modality: str) -> Any:
        """Class that is trained and exported for `modality`.

        Raises:
            EncoderLoadError: nobody registered one.
        """
        return self._resolve(self.towers, modality, "tower")

    def _resolve(self, table: dict[str, str | type], modality: str, kind: str) -> Any:
        found = table.get(modality) or self._installed(modality, kind)
        if found is None:
            raise EncoderLoadError(
                f"no {kind} is registered for modality {modality!r} (known: {', '.join(sorted(table))}); "
                "put @encoders.register(...) on its class and import it"
            )
        if isinstance(found, str):
            module, _, name = found.partition(":")
            found = table[modality] = getattr(import_module(module), name)
        return found

    @staticmethod
    def _installed(modality: str, kind: str) -> Any:
        if kind != "encoder":
            return None
        return next((point.load() for point in entry_points(group=GROUP, name=modality)), None)


REGISTRY = EncoderRegistry(
    served={
        "text": "encoders.text:TextEncoder",
        "image": "encoders.image:ImageEncoder",
        "audio": "encoders.audio:AudioEncoder",
        "video": "encoders.video:VideoEncoder",
        "fused": "encoders.fused:FusedEncoder",
        "sequence": "encoders.sequence:SequenceEncoder",
    },
    towers={
        "text": "encoders.towers.text:TextTower",
        "image": "encoders.towers.image:ImageTower",
        "audio": "encoders.towers.audio:AudioTower",
        "video": "encoders.towers.video:VideoTower",
        "fused": "encoders.towers.fused:FusedTower",
        "sequence": "encoders.towers.sequence:SequenceTower",
    },
)


def register(modality: str, *, tower: str | type | None = None) -> Callable[[Kind], Kind]:
    """Class decorator: serve `modality` by this class.

    Args:
        modality: one of `encoders.contract.Modality`.
        tower: class, or `module:Class`, that `encoders.export` turns into an encoder folder.
    """

    def keep(encoder_class: Kind) -> Kind:
        REGISTRY.served[modality] = encoder_class
        if tower is not None:
            REGISTRY.towers[modality] = tower
        return encoder_class

    return keep
