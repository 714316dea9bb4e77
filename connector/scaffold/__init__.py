"""`connector init`: a complete Feast repository with embedding spaces, for a catalogue or as a start."""

from connector.scaffold.render import Endpoints
from connector.scaffold.shape import Column, Shape, generic_shop
from connector.scaffold.write import Written, init_repository

__all__ = ["Column", "Endpoints", "Shape", "Written", "generic_shop", "init_repository"]
