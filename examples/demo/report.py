"""The demo's HTML report: one self-contained file with the pictures in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.demo.ask import Answer
from examples.demo.checks import Check, Group

TEMPLATE = "report.html.j2"
SHOWN_PER_GROUP = 6
THUMBNAIL = 144


def write_report(
    path: Path,
    *,
    title: str,
    summary: Mapping[str, Any],
    groups: Sequence[Group],
    checks: Sequence[Check],
    answers: Sequence[Answer],
    items: Mapping[str, Mapping[str, Any]],
) -> Path:
    """Write the report under a temporary name, then move it into place.

    Args:
        items: key → {"title", "caption", "image"} of every item that may be shown.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template(TEMPLATE).render(
        title=title,
        summary=summary,
        groups=groups,
        checks=checks,
        cards=[_card(answer, items) for answer in _chosen(answers)],
    )
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    return temporary.replace(path)


def data_url(image: bytes | None) -> str:
    """A thumbnail as a data URL; empty for no picture or one that does not decode."""
    from PIL import Image

    if not image:
        return ""
    try:
        with Image.open(io.BytesIO(image)) as picture:
            small = picture.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _chosen(answers: Sequence[Answer]) -> list[Answer]:
    """The first few of every group, in the order the groups were asked."""
    seen: dict[str, int] = {}
    chosen: list[Answer] = []
    for answer in answers:
        seen[answer.group] = seen.get(answer.group, 0) + 1
        if seen[answer.group] <= SHOWN_PER_GROUP:
            chosen.append(answer)
    order = list(dict.fromkeys(answer.group for answer in answers))
    return sorted(chosen, key=lambda answer: order.index(answer.group))


def _card(answer: Answer, items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    hits = []
    for hit in answer.hits:
        key = str(next(iter(hit.values())))
        item = items.get(key, {})
        hits.append(
            {
                "title": item.get("title", key),
                "caption": item.get("caption", ""),
                "image": data_url(item.get("image")),
                "score": f"{hit['score']:.3f}",
                "right": key in answer.relevant if answer.recall is not None else None,
            }
        )
    return {
        "group": answer.group,
        "text": answer.text,
        "image": data_url(answer.image),
        "where": answer.where,
        "spaces": " + ".join(answer.spaces),
        "milliseconds": f"{answer.milliseconds:.0f}",
        "recall": None if answer.recall is None else f"{answer.recall:.0%}",
        "known": len(answer.relevant),
        "hits": hits,
    }
