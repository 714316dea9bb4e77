"""Titles, descriptions and questions, in words that vary and do not always repeat the attribute's name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.demo.goods import Good, pick

KIND_WORDS: dict[str, tuple[str, ...]] = {
    "dress": ("dress", "frock", "gown"),
    "shirt": ("shirt", "button-up shirt", "collared shirt"),
    "trousers": ("trousers", "pants", "slacks"),
    "skirt": ("skirt", "flared skirt", "midi skirt"),
    "jacket": ("jacket", "blazer", "tailored jacket"),
    "hat": ("hat", "brimmed hat", "fedora"),
    "shoes": ("shoes", "trainers", "sneakers"),
    "socks": ("socks", "pair of socks", "long socks"),
    "scarf": ("scarf", "shawl", "neck scarf"),
    "bag": ("bag", "handbag", "purse"),
    "umbrella": ("umbrella", "parasol", "brolly"),
    "watch": ("watch", "wristwatch", "timepiece"),
    "mug": ("mug", "coffee cup", "tea mug"),
    "teapot": ("teapot", "tea pot", "pot for tea"),
    "vase": ("vase", "tall vase", "flower vase"),
    "lamp": ("lamp", "table lamp", "reading light"),
    "chair": ("chair", "dining chair", "side chair"),
    "cushion": ("cushion", "throw pillow", "sofa pillow"),
}
"""Kind → what people call it. The first word is the kind's own name."""

PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "solid-colour", "plain"),
    "striped": ("striped", "stripy", "pinstriped"),
    "checked": ("checked", "plaid", "gingham"),
    "dotted": ("dotted", "polka-dot", "spotted"),
    "floral": ("floral", "flowery", "flower-print"),
    "zigzag": ("zigzag", "chevron", "zigzag-patterned"),
}

PATTERN_PHRASES: dict[str, tuple[str, ...]] = {
    "plain": ("in a plain colour", "in one plain colour"),
    "striped": ("with stripes", "with bold stripes"),
    "checked": ("with checks", "with a checked pattern"),
    "dotted": ("with dots", "with polka dots"),
    "floral": ("with flowers", "with a flower print"),
    "zigzag": ("with zigzags", "with a zigzag pattern"),
}

_TITLES = (
    "{shade} {pattern} {kind}",
    "{pattern} {kind} in {shade}",
    "{shade} {kind}, {pattern}, {material}",
    "{shade} {kind} {phrase}",
    "{shade} {material} {kind}, {pattern}",
)
_FIRST = (
    "{a_colour} {pattern} {kind} made of {material}.",
    "{colour} {pattern} {kind} in {material}.",
    "{pattern} {adjective} {kind} in {colour}.",
    "{adjective} {kind}, {colour} and {pattern}.",
    "{colour} {adjective} {kind} {phrase}.",
)
_REMARKS: dict[str, tuple[str, ...]] = {
    "dress": ("A dress for long summer evenings.", "Wear this dress to a party or to work."),
    "shirt": ("A shirt for the office and after.", "This shirt needs little ironing."),
    "trousers": ("Trousers with deep pockets.", "Trousers that sit well at the waist."),
    "skirt": ("A skirt that swings as you walk.", "The skirt has a hidden zip."),
    "jacket": ("A jacket for cool evenings.", "The jacket has two inside pockets."),
    "hat": ("A hat that keeps the sun off your face.", "Fits most heads; the hat can be rolled up."),
    "shoes": ("Shoes to walk in all day.", "The shoes have a soft sole."),
    "socks": ("Socks that stay up.", "Socks for warm feet."),
    "scarf": ("A scarf to keep your neck warm.", "Long enough to wrap the scarf twice."),
    "bag": ("A bag with room for a laptop.", "The bag closes with a clasp."),
    "umbrella": ("An umbrella that stands up to the wind.", "Keeps the rain off; the umbrella folds small."),
    "watch": ("A watch that keeps good time.", "The watch has a quartz movement."),
    "mug": ("A mug for coffee or cocoa.", "The mug holds a third of a litre."),
    "teapot": ("A teapot for four cups of tea.", "The teapot pours without dripping."),
    "vase": ("A vase that stands safely.", "The vase is watertight."),
    "lamp": ("A lamp that gives a warm light.", "The lamp takes an ordinary bulb."),
    "chair": ("A chair for the dining table.", "The chair is sturdy and easy on the back."),
    "cushion": ("A cushion for sofa or bed.", "The cushion's cover can be taken off."),
}
_PLURAL = {"trousers", "shoes", "socks"}


def title(good: Good, rng: np.random.Generator) -> str:
    """A shop's headline, free in its choice of words."""
    text = pick(rng, _TITLES).format(
        shade=_named(rng, (good.colour, good.shade), 0.5),
        pattern=_named(rng, PATTERN_WORDS[good.pattern], 0.5),
        phrase=pick(rng, PATTERN_PHRASES[good.pattern]),
        kind=_named(rng, KIND_WORDS[good.kind], 0.6),
        material=_adjective(good.material),
    )
    return _capital(text)


def description(good: Good, rng: np.random.Generator) -> str:
    """What it is, in plain words, and often a remark."""
    colour, kind = good.colour, good.kind
    text = pick(rng, _FIRST).format(
        colour=colour,
        a_colour=_with_article(colour, good.kind),
        pattern=_named(rng, PATTERN_WORDS[good.pattern], 0.9),
        phrase=pick(rng, PATTERN_PHRASES[good.pattern]),
        kind=kind,
        adjective=_adjective(good.material),
        material=good.material,
    )
    return _capital(text) + (f" {pick(rng, _REMARKS[good.kind])}" if rng.random() < 0.5 else "")


def caption(good: Good, rng: np.random.Generator) -> str:
    """What is seen in the picture, in a few words; some say less than all of it."""
    colour = _named(rng, (good.colour, good.shade), 0.6)
    kind = _named(rng, KIND_WORDS[good.kind], 0.6)
    if rng.random() < 0.4:
        return f"{colour} {pick(rng, PATTERN_WORDS[good.pattern])} {kind}"
    return f"{_with_article(colour, good.kind)} {kind} {pick(rng, PATTERN_PHRASES[good.pattern])}"


def question(parts: dict[str, str], rng: np.random.Generator) -> str:
    """How a person would ask for goods with these attributes.

    Args:
        parts: some of kind (always), colour, pattern, material → value.
    """
    kind = _named(rng, KIND_WORDS[parts["kind"]], 0.94)
    words = [parts["colour"]] if "colour" in parts else []
    words += [_adjective(parts["material"])] if "material" in parts else []
    tail = ""
    if "pattern" in parts:
        if parts["pattern"] == "plain":
            words.insert(0, "plain")
        elif rng.random() < 0.5:
            tail = f" {pick(rng, PATTERN_PHRASES[parts['pattern']])}"
        else:
            words.insert(0, _named(rng, PATTERN_WORDS[parts["pattern"]], 0.94))
    phrase = " ".join([*words, kind]) + tail
    opening = pick(rng, ("", "", "", "show me ", "looking for "))
    return f"{opening}{_with_article(phrase, parts['kind'])}"


def _named(rng: np.random.Generator, words: Sequence[str], plainly: float) -> str:
    """The attribute's own name (the first word) with probability `plainly`, else another word for it."""
    return words[0] if rng.random() < plainly else pick(rng, words[1:])


def _with_article(phrase: str, kind: str) -> str:
    if kind in _PLURAL and "pair" not in phrase:
        return phrase
    return f"an {phrase}" if phrase[0] in "aeio" or phrase.startswith("um") else f"a {phrase}"


def _adjective(material: str) -> str:
    return {"wood": "wooden", "wool": "woollen"}.get(material, material)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
