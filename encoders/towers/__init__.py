"""Towers: torch modules from model inputs to vectors, in the form that is trained and exported."""
