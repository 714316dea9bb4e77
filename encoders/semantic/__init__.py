"""Semantic ids: an item's vector as a few codes, and a model that writes the codes of the next item."""
