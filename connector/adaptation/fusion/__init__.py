"""The job that trains the head of a fused encoder."""
