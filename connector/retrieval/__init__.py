"""Search: a checked query → vectors → hits of each space → one ranked table, with features where asked."""
