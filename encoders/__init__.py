"""Everything that is a model: contracts, encoders, decoding, export. Knows neither Feast, Milvus nor `connector`."""
