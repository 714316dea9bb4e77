"""Universal sequence pretraining: histories of content vectors, for catalogues never seen (UniSRec)."""
