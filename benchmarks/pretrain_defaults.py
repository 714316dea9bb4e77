"""`make pretrain-defaults`: train the shipped image and audio encoders again, measure and install them.

Without the real data ($CONNECTOR_DATA) it trains on drawings and made sounds alone, says so in the cards, and installs
nothing: what is shipped is better. The default video encoder is the image encoder over frames, and follows it, as does
the default encoder of items of several modalities.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import default_audio, mobilenet
from benchmarks.clothes import clothes, held_owners
from benchmarks.default_fused import write_default
from benchmarks.default_image import card_figures, measure
from benchmarks.evaluate_content import evaluate
from connector.adaptation import ContrastiveSpec, load_spec, pretrain_contrastive
from connector.adaptation.card import write_card
from connector.adaptation.spec import NewTower
from connector.evaluation import interval
from examples.demo.shop import captioned_drawings
from examples.demo.sounds import captioned_sounds

ROOT = Path(__file__).resolve().parents[1]
SPECS = ROOT / "examples" / "pretrain"
WEIGHTS = ROOT / "encoders" / "weights"
DRAWINGS, DRAWING_SEED = 7200, 1
# Pixels a side that the shipped image encoder takes.
SIDE = 160
FROM_NOTHING = {
    "tower": NewTower(image_size=96, hidden_sizes=(24, 48, 96, 192), depths=(1, 1, 2, 2)),
    "batch_size": 128,
    "steps": 2400,
    "learning_rate": 0.003,
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", help="image or audio; default: both")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "connector-pretrain")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--seed", type=int, help="of the image job, in place of its own; to see how far trainings differ"
    )
    parser.add_argument("--no-install", action="store_true", help="leave encoders/weights as it is")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    data = data_folder()
    for name in options.which or ("image", "audio"):
        if name == "image":
            tower = image(options.work, data, resume=options.resume, seed=options.seed)
        else:
            tower = audio(options.work, data, resume=options.resume)
        if data is None:
            print(f"{tower}: not installed; encoders/weights holds what was trained on the real data")
        elif not options.no_install:
            install(tower, name)


def image(work: Path, data: Path | None, *, resume: bool, seed: int | None = None) -> Path:
    """Train the image encoder → its tower folder."""
    spec = prepare(SPECS / "default_image.yaml", work, data)
    if seed is not None:
        spec = spec.model_copy(update={"seed": seed, "out": f"{spec.out}-{seed}"})
    report = pretrain_contrastive(spec, resume=resume)
    print(report)
    shop = measure(report.folder)
    for name, value in shop.items():
        print(f"{name}: {value:.3f}")
    found = evaluate(report.folder, data) if data is not None else None
    for name, hits in (found or {}).items():
        print(name, ", ".join(f"{question} {interval(values)}" for question, values in hits.items()), sep=": ")
    more = card_figures(shop, found, mobilenet.ORIGIN if spec.tower.kind == "pretrained" else None)
    card = write_card(spec, report, title="The default image encoder", more=more)
    (report.folder / "README.md").write_text(card, encoding="utf-8")
    return report.folder


def audio(work: Path, data: Path | None, *, resume: bool) -> Path:
    """Train the audio encoder, and by several seeds without each speaker → its tower folder."""
    import encoders

    spec = load_spec(SPECS / "default_audio.yaml", folder=work)
    _write(captioned_sounds(default_audio.SOUND_SEED, default_audio.SOUNDS), work / "sounds.parquet")
    by_speaker: list[str] = []
    if data is not None:
        _write(default_audio.digit_pairs(data), work / default_audio.DIGITS)
        trained = default_audio.held_out(spec, work, data)
        by_speaker = list(default_audio.speaker_rows(default_audio.clips(data), trained))
    else:
        print("no real data (set CONNECTOR_DATA): training on made sounds alone")
        spec = spec.model_copy(update={"pairs": tuple(p for p in spec.pairs if Path(p.path).name == "sounds.parquet")})
    report = pretrain_contrastive(spec, resume=resume)
    print(report)
    with encoders.load(report.folder, name="audio") as encoder:
        sounds = default_audio.sound_figures(encoder)
    more = default_audio.card_figures(by_speaker, sounds)
    card = write_card(spec, report, title="The default audio encoder", more=more)
    (report.folder / "README.md").write_text(card, encoding="utf-8")
    return report.folder


def data_folder() -> Path | None:
    """The real data, where it is there."""
    from benchmarks.data import real_data

    return real_data()


def prepare(spec_file: Path, work: Path, data: Path | None) -> ContrastiveSpec:
    """Write the Parquet files that the spec names; leave out the sources whose data is not there."""
    reason = mobilenet.missing(data)
    if data is not None and reason is None:
        mobilenet.write_tower(data, work / "mobilenet-v1", SIDE)
    spec = load_spec(spec_file, folder=work)
    if reason is not None:
        print(f"{reason}: training a small network from nothing")
        spec = spec.model_copy(update=FROM_NOTHING)
    drawings = work / "drawings.parquet"
    if not drawings.exists():
        _write(captioned_drawings(DRAWING_SEED, DRAWINGS), drawings)
    if data is not None:
        photos, products = grocery(data)
        _write(photos, work / "grocery.parquet")
        _write(products, work / "products.parquet")
        _write(wardrobe(data), work / "wardrobe.parquet")
        return spec
    print("no real data (set CONNECTOR_DATA): training on the drawings alone")
    return spec.model_copy(update={"pairs": tuple(p for p in spec.pairs if Path(p.path) == drawings)})


def grocery(data: Path) -> tuple[pa.Table, pa.Table]:
    """Photos of the train split with their product's words; each product's own picture with the same."""
    products = pq.read_table(data / "grocery" / "products.parquet")
    photos = pq.read_table(data / "grocery" / "photos.parquet")
    photos = photos.filter(pc.equal(photos["split"], "train")).select(["product_id", "image"])
    words = products.select(["product_id", "name", "category", "description"])
    joined = photos.join(words, "product_id").sort_by("product_id")
    names = ["product_id", "name", "category", "description", "image"]
    return joined.select(names), products.select(names)


def wardrobe(data: Path) -> pa.Table:
    """Photos with a label that says what they show, of four owners in five; the others are kept for evaluation."""
    items = clothes(data)
    items = items.filter(pc.invert(pc.is_in(items["user_id"], value_set=held_owners(items))))
    return items.set_column(0, "label", pc.utf8_lower(items["label"])).select(["label", "image"])


def install(tower: Path, name: str) -> None:
    """Replace the shipped weights and the tracked contracts of all who use them."""
    from encoders.defaults import write_contract
    from encoders.files import new_folder
    from encoders.source import BORROWED

    target = WEIGHTS / name
    with new_folder(target) as filling:
        for path in sorted(tower.iterdir()):
            shutil.copyfile(path, filling / path.name)
    for default in (name, *(borrower for borrower, lender in BORROWED.items() if lender == name)):
        contract = write_contract(target, default)
        print(f"installed {contract.label} from {target.relative_to(ROOT)}")
    contract = write_contract(write_default(WEIGHTS / "fused"), "fused")
    print(f"installed {contract.label}, over these, from {(WEIGHTS / 'fused').relative_to(ROOT)}")


def _write(table: pa.Table, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    pq.write_table(table, temporary)
    temporary.replace(path)


if __name__ == "__main__":
    main()
