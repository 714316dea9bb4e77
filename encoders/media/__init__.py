"""From encoded bytes to arrays: decoding of media under limits, and what happens to a picture before the network."""
