"""Multimodal encoders on Triton, written into Feast and Milvus, for content-aware recommendation."""
