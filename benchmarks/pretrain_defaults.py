"""`make pretrain-defaults`: train the shipped image encoder again, measure it, and put it where `load("image")` looks.

Without the real data ($CONNECTOR_DATA) it trains on the drawings alone, and says so in the card.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.default_image import card_figures, measure
from connector.adaptation import ContrastiveSpec, load_spec, pretrain_contrastive
from connector.adaptation.card import write_card
from examples.demo.shop import captioned_drawings

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "examples" / "pretrain" / "default_image.yaml"
TARGET = ROOT / "encoders" / "weights" / "image"
DRAWINGS, DRAWING_SEED = 7200, 1
TITLE = "The default image encoder"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "connector-pretrain")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--spec", type=Path, default=SPEC)
    parser.add_argument("--no-install", action="store_true", help="leave encoders/weights as it is")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    data = data_folder()
    spec = prepare(options.spec, options.work, data)
    report = pretrain_contrastive(spec, resume=options.resume)
    print(report)
    figures = measure(report.folder, data)
    for name, value in figures.items():
        print(f"{name}: {value:.3f}")
    card = write_card(spec, report, title=TITLE, more=card_figures(figures, with_photos=data is not None))
    (report.folder / "README.md").write_text(card, encoding="utf-8")
    if not options.no_install:
        install(report.folder)


def data_folder() -> Path | None:
    """The real data, where it is there."""
    from benchmarks.data import real_data

    return real_data()


def prepare(spec_file: Path, work: Path, data: Path | None) -> ContrastiveSpec:
    """Write the Parquet files that the spec names; leave out the sources whose data is not there."""
    spec = load_spec(spec_file, folder=work)
    drawings = work / "drawings.parquet"
    if not drawings.exists():
        _write(captioned_drawings(DRAWING_SEED, DRAWINGS), drawings)
    if data is not None:
        _write(grocery(data), work / "grocery.parquet")
        _write(wardrobe(data), work / "wardrobe.parquet")
        return spec
    print("no real data (set CONNECTOR_DATA): training on the drawings alone")
    return spec.model_copy(update={"pairs": tuple(p for p in spec.pairs if Path(p.path) == drawings)})


def grocery(data: Path) -> pa.Table:
    """Photos of the train split with their product's words, and each product's own picture."""
    products = pq.read_table(data / "grocery" / "products.parquet")
    photos = pq.read_table(data / "grocery" / "photos.parquet")
    photos = photos.filter(pc.equal(photos["split"], "train")).select(["product_id", "image"])
    words = products.select(["product_id", "name", "category", "description"])
    joined = photos.join(words, "product_id").sort_by("product_id")
    names = ["product_id", "name", "category", "description", "image"]
    return pa.concat_tables([joined.select(names), products.select(names)])


def wardrobe(data: Path) -> pa.Table:
    """Photos with a label that says what they show."""
    items = pq.read_table(data / "wardrobe" / "items.parquet", columns=["label", "image"])
    vague = pc.is_in(items["label"], value_set=pa.array(["Not sure", "Other", "Skip"]))
    items = items.filter(pc.invert(vague))
    return items.set_column(0, "label", pc.utf8_lower(items["label"]))


def install(tower: Path) -> None:
    """Replace the shipped weights and the tracked contract."""
    from encoders.defaults import write_contract
    from encoders.files import new_folder

    with new_folder(TARGET) as filling:
        for path in sorted(tower.iterdir()):
            shutil.copyfile(path, filling / path.name)
    contract = write_contract(TARGET, "image")
    print(f"installed {contract.label} into {TARGET.relative_to(ROOT)}")


def _write(table: pa.Table, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    pq.write_table(table, temporary)
    temporary.replace(path)


if __name__ == "__main__":
    main()
