"""The renderer: a pure function of its arguments, four media that differ, one layout at any size."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from governance.demo.encoder import load_labels
from governance.demo.scenes import (
    CLASSES,
    DOMAINS,
    SEEDS_PER_DATASET,
    contact_sheet,
    main,
    render,
    write_dataset,
)
from governance.demo.train import held_out_jobs, training_jobs

PAIRS = [(label, domain) for label in CLASSES for domain in DOMAINS]


def pixels(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64)


def test_labels_file_names_the_rendered_classes_and_domains() -> None:
    labels = load_labels()
    assert labels.classes == CLASSES
    assert labels.domains == DOMAINS
    assert set(labels.synonyms) == set(CLASSES)
    assert len(CLASSES) >= 10
    # "a photo of a {class}" has to be grammatical.
    assert not [c for c in CLASSES if c[0] in "aeiou"]
    words = [w for given in labels.synonyms.values() for w in given]
    assert len({*words, *CLASSES}) == len(words) + len(CLASSES)


@pytest.mark.parametrize(("label", "domain"), PAIRS)
def test_render_is_a_function_of_its_arguments(label: str, domain: str) -> None:
    first, again = render(label, domain, 3), render(label, domain, 3)
    assert first.size == (64, 64)
    assert first.mode == "RGB"
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != render(label, domain, 4).tobytes()


def test_every_pair_gives_another_image() -> None:
    assert len({render(label, domain, 5).tobytes() for label, domain in PAIRS}) == len(PAIRS)


@pytest.mark.parametrize(("label", "domain"), PAIRS)
def test_size_changes_sharpness_not_layout(label: str, domain: str) -> None:
    small = render(label, domain, 6, 64)
    reduced = render(label, domain, 6, 192).resize((64, 64), Image.Resampling.BOX)
    other = render(label, domain, 7, 64)
    same = np.abs(pixels(small) - pixels(reduced)).mean()
    different = np.abs(pixels(small) - pixels(other)).mean()
    assert same < 0.5 * different


def test_domains_differ_in_simple_statistics() -> None:
    flat, vivid, busy = {}, {}, {}
    for domain in DOMAINS:
        images = [render(label, domain, seed) for label in CLASSES for seed in range(4)]
        hsv = np.stack([pixels(i.convert("HSV")) for i in images])
        grey = np.stack([pixels(i.convert("L")) for i in images])
        vivid[domain] = hsv[..., 1].mean()
        busy[domain] = np.abs(np.diff(grey, axis=2)).mean()
        # Share of neighbouring pixels of exactly one value: flat fills have it, noise does not.
        flat[domain] = (np.diff(grey, axis=2) == 0).mean()
    assert vivid["sketch"] < 0.5 * min(vivid[d] for d in DOMAINS if d != "sketch")
    assert vivid["cartoon"] == max(vivid.values())
    assert flat["cartoon"] > 3 * max(flat[d] for d in DOMAINS if d != "cartoon")
    assert busy["painting"] > 1.5 * busy["photo"]


@pytest.mark.parametrize(
    ("label", "domain", "size", "message"),
    [
        ("unicorn", "photo", 64, "unknown class 'unicorn'"),
        ("mug", "fresco", 64, "unknown domain 'fresco'"),
        ("mug", "photo", 8, "size must be at least 16"),
    ],
)
def test_render_refuses(label: str, domain: str, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        render(label, domain, 0, size)
    assert "\n" not in str(caught.value)


def test_write_dataset_layout(tmp_path: Path) -> None:
    assert write_dataset(tmp_path, 2, 1) == 2 * len(PAIRS)
    written = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png"))
    assert written == sorted(f"{d}/{c}/00{k}.png" for c, d in PAIRS for k in range(2))
    with Image.open(tmp_path / "sketch" / "mug" / "001.png") as image:
        assert image.tobytes() == render("mug", "sketch", SEEDS_PER_DATASET + 1).tobytes()


@pytest.mark.parametrize(("per_pair", "seed"), [(0, 1), (SEEDS_PER_DATASET + 1, 1), (1, -1)])
def test_write_dataset_refuses_and_writes_nothing(tmp_path: Path, per_pair: int, seed: int) -> None:
    with pytest.raises(ValueError, match="must"):
        write_dataset(tmp_path / "data", per_pair, seed)
    assert not (tmp_path / "data").exists()


def test_training_and_held_out_renders_never_meet() -> None:
    assert not set(training_jobs(50)) & set(held_out_jobs(50))
    # No data set can be written from a negative seed, and training uses no other.
    assert all(seed < 0 for _, _, seed in training_jobs(50))


def test_contact_sheet(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    contact_sheet(sheet, cell=24)
    with Image.open(sheet) as image:
        assert image.width > 24 * len(CLASSES)
        assert image.height > 24 * len(DOMAINS)


def test_command_line(tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(main, [str(tmp_path / "data"), "--per-pair", "1", "--seed", "2"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "data").rglob("*.png"))) == len(PAIRS)
    for wrong in ([], [str(tmp_path), "--per-pair", "0"], [str(tmp_path), "--contact-sheet", "x"]):
        refused = runner.invoke(main, wrong)
        assert refused.exit_code == 2
        assert refused.output.strip().splitlines()[-1].startswith("Error: ")
