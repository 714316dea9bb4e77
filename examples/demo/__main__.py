"""`make demo`: the whole path on drawn goods, or on a catalogue of your own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from connector.errors import ConnectorError
from examples.demo.run import run_demo

OUT = Path(__file__).parent / "out"


def main(arguments: list[str]) -> int:
    """Run the demo; exit code 0 when every check passes, 1 when one fails, 2 on an error."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--catalogue", type=Path, help="a Parquet, Arrow or CSV catalogue; without it a shop is drawn")
    parser.add_argument("--key", help="the catalogue's key column, where it cannot be guessed")
    parser.add_argument("--goods", type=int, default=600, help="how many goods to draw (default 600)")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the Feast repository and the report")
    options = parser.parse_args(arguments)
    if options.goods < 50:
        parser.error("--goods: at least 50, or the questions have too few answers")
    try:
        return run_demo(options.out.resolve(), catalogue=options.catalogue, key=options.key, goods=options.goods)
    except ConnectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
