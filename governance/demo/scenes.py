"""The embedded data set: ten everyday classes in four domains, rendered from a seed.

Pillow and numpy alone. Held-out renders use seeds from 0 upwards; `governance.demo.train` learns
from negative seeds only, so no image that `write_dataset` writes was ever trained on.
"""

import zlib
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from governance.demo.shapes import SHAPES, place
from governance.demo.styles import PAINTERS

CLASSES: tuple[str, ...] = tuple(SHAPES)
"""Class names in the order of `labels.toml`."""

DOMAINS: tuple[str, ...] = tuple(PAINTERS)
"""Domain names in the order of `labels.toml`."""

SEEDS_PER_DATASET = 100_000
"""Most images of one (class, domain) in a data set, so that two seeds never share a render."""


def render(label: str, domain: str, seed: int, size: int = 64) -> Image.Image:
    """One scene, the same for the same arguments in every process (numpy and Pillow permitting).

    `size` is the side in pixels and moves nothing: the scene at 192 is the scene at 64, sharper.
    Returns an RGB image (size, size). Raises ValueError for an unknown class or domain, or for a
    size below 16.
    """
    if label not in SHAPES:
        raise ValueError(f"unknown class {label!r}; known: {', '.join(CLASSES)}")
    if domain not in PAINTERS:
        raise ValueError(f"unknown domain {domain!r}; known: {', '.join(DOMAINS)}")
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, got {size}")
    rng = np.random.default_rng(zlib.crc32(f"{label}/{domain}/{seed}".encode()))
    parts = place(label, rng)
    # Pillow draws polygons without antialiasing: paint at twice the size and average down.
    large = PAINTERS[domain](parts, label, rng, 2 * size)
    return large.resize((size, size), Image.Resampling.BOX)


def write_dataset(dest: Path, per_pair: int, seed: int) -> int:
    """Write `dest/domain/class/NNN.png`, `per_pair` images of 64 pixels each; return their number.

    Raises ValueError for `per_pair` outside [1, SEEDS_PER_DATASET] or a negative seed, OSError
    where nothing can be written.
    """
    if not 1 <= per_pair <= SEEDS_PER_DATASET:
        raise ValueError(f"images per pair must be from 1 to {SEEDS_PER_DATASET}, got {per_pair}")
    if seed < 0:
        raise ValueError(f"seed must not be negative (those are the training renders), got {seed}")
    for domain in DOMAINS:
        for label in CLASSES:
            folder = dest / domain / label
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(per_pair):
                image = render(label, domain, seed * SEEDS_PER_DATASET + index)
                image.save(folder / f"{index:03d}.png")
    return len(DOMAINS) * len(CLASSES) * per_pair


def contact_sheet(dest: Path, cell: int = 100, seed: int = 4) -> None:
    """Write one labelled PNG: a row a domain, a column a class, `cell` pixels each."""
    gap, left, top = 6, 84, 30
    width = left + len(CLASSES) * (cell + gap)
    sheet = Image.new("RGB", (width, top + len(DOMAINS) * (cell + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for column, label in enumerate(CLASSES):
        draw.text((left + column * (cell + gap) + cell // 2, top // 2), label, "black", font, "mm")
    for row, domain in enumerate(DOMAINS):
        y = top + row * (cell + gap)
        draw.text((left - 10, y + cell // 2), domain, "black", font, "rm")
        for column, label in enumerate(CLASSES):
            sheet.paste(render(label, domain, seed, cell), (left + column * (cell + gap), y))
    sheet.save(dest, optimize=True)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option(
    "--per-pair",
    type=click.IntRange(1, SEEDS_PER_DATASET),
    default=12,
    show_default=True,
    help="Images of each class in each domain.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Data sets of two seeds share no image.",
)
@click.option(
    "--contact-sheet",
    "sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a labelled overview picture instead.",
)
def main(directory: Path | None, per_pair: int, seed: int, sheet: Path | None) -> None:
    """Render the embedded data set into DIRECTORY as domain/class/NNN.png."""
    if (directory is None) == (sheet is None):
        raise click.UsageError("give either DIRECTORY or --contact-sheet FILE")
    if sheet is not None:
        contact_sheet(sheet)
        click.echo(str(sheet))
    elif directory is not None:
        click.echo(f"{write_dataset(directory, per_pair, seed)} images in {directory}")


if __name__ == "__main__":
    main()
