"""Speed, each figure beside its baseline from the same run: `make bench`, or `python -m benchmarks SUITE …`."""
