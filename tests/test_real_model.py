"""The shared benchmark's model through the commands, end to end, and then through open_clip alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, cli

__all__ = ["cli"]

pytestmark = pytest.mark.benchmark

PER_PAIR = 3
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
LABELS = f"""\
classes = {json.dumps(CLASSES)}
score_template = "a photo of a {{class}}"

[domains]
photo = ["a photo of a {{class}}"]
art_painting = ["an art painting of a {{class}}"]
cartoon = ["a cartoon of a {{class}}"]
sketch = ["a sketch of a {{class}}"]
"""

STOCK = """
import json, sys
from pathlib import Path
import open_clip, torch
from PIL import Image

root, classes = Path(sys.argv[1]), json.loads(sys.argv[2])
model, preprocess = open_clip.create_model_from_pretrained("local-dir:.")
model.eval()
tokens = open_clip.get_tokenizer("local-dir:.")([f"a photo of a {label}" for label in classes])
found = {}
with torch.inference_mode():
    prompts = model.encode_text(tokens, normalize=True)
    paths = sorted(root.rglob("*.jpg"))
    for start in range(0, len(paths), 28):
        batch = paths[start : start + 28]
        images = torch.stack([preprocess(Image.open(path)) for path in batch])
        chosen = (model.encode_image(images, normalize=True) @ prompts.T).argmax(dim=1)
        for path, number in zip(batch, chosen.tolist(), strict=True):
            found[path.relative_to(root).as_posix()] = classes[number]
print(json.dumps({"found": found, "modules": "governance" in sys.modules}))
"""


@pytest.fixture
def few(benchmark_dir: Path, tmp_path: Path) -> Path:
    """The first images of each class and domain."""
    for domain in DOMAINS:
        for label in CLASSES:
            place = tmp_path / "pacs" / domain / label
            place.mkdir(parents=True)
            source = benchmark_dir / "pacs" / domain / label
            for image in sorted(source.glob("*.jpg"))[:PER_PAIR]:
                shutil.copy(image, place)
    assert len(list((tmp_path / "pacs").rglob("*.jpg"))) == PER_PAIR * 28
    return tmp_path / "pacs"


def stock_predictions(model: Path, images: Path) -> dict[str, str]:
    """What open_clip alone makes of each image, with the model's directory as working directory."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", STOCK, str(images), json.dumps(CLASSES)],
        cwd=model, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["modules"] is False  # ours had no part in it
    found: dict[str, str] = result["found"]
    return found


def counts(found: dict[str, str], forgotten: tuple[str, str]) -> dict[str, Any]:
    """Right predictions of what is forgotten and of the rest, of each class and of each domain."""
    right: dict[str, Any] = {"forget": 0, "retain": 0, "per_class": {}, "per_domain": {}}
    for path, name in found.items():
        domain, label, _ = path.split("/")
        hit = int(name == label)
        right["forget" if (label, domain) == forgotten else "retain"] += hit
        for part, key in (("per_class", label), ("per_domain", domain)):
            right[part][key] = right[part].get(key, 0) + hit
    return right


def reported(side: dict[str, Any]) -> dict[str, Any]:
    """The same of a side of a report."""
    shown = side["counts"]
    return {
        "forget": shown["forget"]["correct"],
        "retain": shown["retain"]["correct"],
        "per_class": {key: value["correct"] for key, value in shown["per_class"].items()},
        "per_domain": {key: value["correct"] for key, value in shown["per_domain"].items()},
    }


@pytest.mark.parametrize("flags", [(), ("--both-sides",)], ids=["image", "both sides"])
def test_what_is_exported_predicts_what_the_ledger_reports(
    benchmark_dir: Path, few: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.setenv("GOVERNANCE_HOME", str(tmp_path / "home"))
    (tmp_path / "labels.toml").write_text(LABELS)
    model = benchmark_dir / "clip_real"
    cli("init", "--admin", "ada")
    cli("actor", "add", "dmitri", "--role", "approver")
    labels = ("--labels", tmp_path / "labels.toml")
    cli("model", "register", "real", "--open-clip", f"local-dir:{model}", *labels)
    cli("dataset", "add", "eval", few)
    wanted = ("--forget", "dog", "--domain", "sketch")
    cli("request", "file", *wanted, "--basis", "bias", "--reason", "a reason")
    prepared = cli("request", "prepare", 1, *flags, "--json").json
    cli("request", "approve", 1, "--actor", "dmitri")
    version = cli("request", "apply", 1, "--json").json
    cli("version", "promote", 2)
    cli("version", "export", 2, "-o", tmp_path / "out")
    assert "champion" in cli("version", "list", "--json").json[-1]["aliases"]

    (report,) = version["reports"]
    assert report["sides"] == (["image", "text"] if flags else ["image"])
    before, after = (stock_predictions(place, few) for place in (model, tmp_path / "out"))
    assert len(before) == PER_PAIR * 28
    assert before != after  # there is something to tell apart
    for shown in (report, prepared["report"]):
        assert reported(shown["before"]) == counts(before, ("dog", "sketch"))
        assert reported(shown["after"]) == counts(after, ("dog", "sketch"))
    assert reported(report["before"])["forget"] >= 2
    assert reported(report["after"])["forget"] == 0
    assert cli("audit", "verify", "--json").json["ok"] is True
