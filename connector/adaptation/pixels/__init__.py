"""Jobs that learn from pictures alone: what is behind a mask, and that two views show the same thing."""
