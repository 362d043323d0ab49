"""Train the embedded dual encoder: `python -m governance.demo.train`.

Renders its own training set, fits the encoder on two cores in under fifteen minutes, writes an
open_clip directory in half precision and judges what it wrote on renders it never saw. The same
seed on the same machine and library versions gives the same weights.
"""

import multiprocessing
import os
import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from governance.demo import MODEL_DIR
from governance.demo.scenes import CLASSES, DOMAINS, SEEDS_PER_DATASET, render

Job = tuple[str, str, int]

HELD_OUT_SEED = 7
"""Data-set seed of the renders that judge the encoder."""


def pixels(job: Job) -> NDArray[np.uint8]:
    """One render as uint8 (3, 64, 64)."""
    return np.ascontiguousarray(np.asarray(render(*job)).transpose(2, 0, 1))


def training_jobs(per_pair: int) -> list[Job]:
    """What to train on, pair by pair; negative seeds, which no data set contains."""
    return [(c, d, -1 - k) for c in CLASSES for d in DOMAINS for k in range(per_pair)]


def held_out_jobs(per_pair: int, seed: int = HELD_OUT_SEED) -> list[Job]:
    """The renders of `write_dataset(per_pair=..., seed=...)`, pair by pair."""
    first = seed * SEEDS_PER_DATASET
    return [(c, d, first + k) for c in CLASSES for d in DOMAINS for k in range(per_pair)]


def render_all(jobs: list[Job], processes: int = 2) -> NDArray[np.uint8]:
    """All jobs as uint8 (n, 3, 64, 64), in order."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return np.stack(pool.map(pixels, jobs, chunksize=64))


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=MODEL_DIR,
    help="Where to write the open_clip directory (default: the package data).",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the initial weights, the order of the images and their augmentation.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=1400,
    show_default=True,
    help="Batches of 128 to learn from.",
)
@click.option(
    "--per-pair",
    type=click.IntRange(min=1),
    default=250,
    show_default=True,
    help="Images to learn from, for each class and domain.",
)
@click.option(
    "--held-out",
    type=click.IntRange(min=1),
    default=25,
    show_default=True,
    help="Images to score on, for each class and domain.",
)
def main(out: Path, seed: int, steps: int, per_pair: int, held_out: int) -> None:
    """Train the embedded dual encoder and print how it does on held-out renders."""
    start = time.perf_counter()
    seen = render_all(training_jobs(per_pair))
    unseen = render_all(held_out_jobs(held_out))
    click.echo(
        f"{len(seen)} renders to learn from in {time.perf_counter() - start:.0f} s", err=True
    )
    # Threads that spin while they wait take the cores from whoever shares them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch and open_clip load after the render processes are gone: those need neither.
    import torch

    from governance.demo import encoder

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    labels = encoder.load_labels()
    pairs = torch.arange(len(CLASSES) * len(DOMAINS))
    model = encoder.build(seed, labels)
    encoder.train(
        model,
        torch.from_numpy(seen),
        pairs.repeat_interleave(per_pair),
        labels,
        steps=steps,
        seed=seed,
        report=lambda line: click.echo(f"{time.perf_counter() - start:5.0f} s  {line}", err=True),
    )
    encoder.save(model, out)
    figures = encoder.scores(
        out, torch.from_numpy(unseen), pairs.repeat_interleave(held_out), labels
    )
    for name, value in figures.items():
        click.echo(f"{name:18} {value:.3f}")
    click.echo(f"{'minutes':18} {(time.perf_counter() - start) / 60:.1f}")


if __name__ == "__main__":
    main()
