"""Counting again what a report says, with stock open_clip and nothing of this project but the two models."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from governance.demo import MODEL_DIR

PROMPT = "a photo of a {}"


def recount(report: Path, served: Path, images: Path) -> int:
    """Hold a version's report, as JSON, against what both models make of the images.

    Args:
        report: the report of the version.
        served: its exported directory.
        images: ``<domain>/<class>/*.png``, what it was measured on.

    Returns:
        How many figures were counted again; each of them is the same.
    """
    content = json.loads(report.read_text())
    classes, (figures,) = content["model"]["classes"], content["reports"]
    paths = sorted(images.glob("*/*/*.png"))
    assert figures["dataset"]["images"] == len(paths)
    counted = 0
    asked = [_cells(entry["targets"], classes, images) for entry in figures["requests"]]
    forgotten = set().union(*asked)
    for when, directory in (("before", MODEL_DIR), ("after", served)):
        right = _right(directory, classes, paths)
        for entry, cells in zip(figures["requests"], asked, strict=True):
            assert _share(right, cells) == entry[when], (when, entry["request"])
        kept = {cell for cell in right if cell not in forgotten}
        assert _share(right, forgotten) == figures[when]["forget_accuracy"]
        assert _share(right, kept) == figures[when]["retain_accuracy"]
        for name in classes:
            own = {cell for cell in right if cell[1] == name}
            assert _share(right, own) == figures[when]["per_class"][name], (when, name)
        counted += len(asked) + 2 + len(classes)
    for gate in content["gates"]:
        assert gate["passed"] == (gate["value"] <= gate["limit"])
    return counted


Cell = tuple[str, str]


def _cells(targets: list[dict[str, Any]], classes: list[str], images: Path) -> set[Cell]:
    """The (domain, class) pairs that targets name."""
    return {
        (domain.name, name)
        for domain in images.iterdir()
        for name in classes
        for target in targets
        if target["class"] in (None, name) and target["domain"] in (None, domain.name)
    }


def _right(directory: Path, classes: list[str], paths: list[Path]) -> dict[Cell, Counter[bool]]:
    """How many images of each (domain, class) a model takes for what they are."""
    name = f"local-dir:{directory}"
    model, preprocess = open_clip.create_model_from_pretrained(name)
    tokens = open_clip.get_tokenizer(name)([PROMPT.format(label) for label in classes])
    found: dict[Cell, Counter[bool]] = {}
    with torch.inference_mode():
        texts = model.eval().encode_text(tokens, normalize=True)
        for path in paths:
            pixels = preprocess(Image.open(path).convert("RGB")).unsqueeze(0)
            best = int((model.encode_image(pixels, normalize=True) @ texts.T).argmax())
            domain, label = path.parts[-3:-1]
            found.setdefault((domain, label), Counter())[classes[best] == label] += 1
    return found


def _share(right: dict[Cell, Counter[bool]], cells: set[Cell]) -> float:
    chosen = sum((right[cell] for cell in cells), Counter[bool]())
    return chosen[True] / chosen.total()
