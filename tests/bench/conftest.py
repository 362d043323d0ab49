"""A benchmark of the same shape as the shared one, made of random directions: small, and always there."""

from pathlib import Path

import numpy as np
import pytest

from tests.bench import real_files

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
WORDS = ("a photo", "an art painting", "a cartoon", "a sketch")
WIDTH = 128


def _rows(
    generator: np.random.Generator, labels: list[int], domains: list[int], noise: float
) -> "np.ndarray":
    """A class direction, a domain direction (none for −1) and noise."""
    shape = (len(CLASSES) + len(DOMAINS) + 1, WIDTH)
    axes = np.random.default_rng(1).standard_normal(shape) / WIDTH**0.5
    styles = np.append(axes[len(CLASSES) : -1], np.zeros((1, WIDTH)), axis=0)
    rows = axes[labels] + 0.7 * styles[domains]
    rows += noise * generator.standard_normal(rows.shape) / WIDTH**0.5
    return rows.astype(np.float32)


@pytest.fixture(scope="session")
def small_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with embeddings.npz, 40 LVIS-like rows and one data set of the real form; no model."""
    place = tmp_path_factory.mktemp("benchmark")
    generator = np.random.default_rng(0)

    def every(count: int, domains: list[int]) -> tuple[list[int], list[int]]:
        pairs = [(c, d) for c in range(len(CLASSES)) for d in domains for _ in range(count)]
        return [c for c, _ in pairs], [d for _, d in pairs]

    images, shots = every(8, [0, 1, 2, 3]), every(4, [0, 1, 2, 3])
    prompts, kinds, text_labels, text_domains = [], [], [], []
    for domain in (-1, 0, 1, 2, 3):
        for label, name in enumerate(CLASSES):
            word = "a photo" if domain < 0 else WORDS[domain]
            for kind, prompt in (("eval", f"{word} of a {name}"), ("train", f"{word}: {name}")):
                prompts.append(prompt)
                kinds.append(kind)
                text_labels.append(label)
                text_domains.append(domain)
    # As in the shared benchmark, some prompts name a domain and no class.
    prompts.append("a drawing")
    kinds.append("train")
    text_labels.append(-1)
    text_domains.append(3)
    np.savez(
        place / "embeddings.npz",
        image=_rows(generator, *images, 1.0),
        label=np.array(images[0]),
        domain=np.array(images[1]),
        few_shot_image=_rows(generator, *shots, 1.0),
        few_shot_label=np.array(shots[0]),
        few_shot_domain=np.array(shots[1]),
        classes=np.array(CLASSES),
        domains=np.array(DOMAINS),
        text=_rows(generator, text_labels, text_domains, 0.3),
        text_prompt=np.array(prompts),
        text_kind=np.array(kinds),
        text_class=np.array(text_labels),
        text_domain=np.array(text_domains),
        logit_scale=np.float32(25.0),
    )
    np.save(place / "lvis_vitb32_text.npy", generator.standard_normal((40, 32)).astype(np.float32))
    names = "".join(f"thing {number}\n" for number in range(40))
    (place / "lvis_names.txt").write_text(names, encoding="utf-8")
    return real_files.write(place, things=real_files.arrays(6, 3, domains=2, shots=2))


@pytest.fixture(scope="session")
def modelled_benchmark(small_benchmark: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the embedded model in the place of the real one."""
    import shutil

    place = tmp_path_factory.mktemp("modelled")
    shutil.copytree(small_benchmark, place, dirs_exist_ok=True)
    model = Path(__file__).parents[2] / "governance" / "demo" / "model"
    shutil.copytree(model, place / "clip_real")
    return place
