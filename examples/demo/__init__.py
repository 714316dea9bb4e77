"""A shop that never existed: drawn, worded and described from known attributes, so that every answer can be checked."""
