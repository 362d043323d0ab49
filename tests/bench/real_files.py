"""Files of the form of `DIR/real`, made of random directions: texts lie apart from images, as in a real CLIP."""

from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 64


def arrays(classes: int, images: int, domains: int = 0, shots: int = 0) -> dict[str, Any]:
    """Arrays of one file.

    Args:
        classes: how many; their names are plain.
        images: of each class, or of each (class, domain).
        domains: 0 for a file that knows none.
        shots: of each class, or of each (class, domain); 0 for a file without.
    """
    generator = np.random.default_rng(classes)
    axes, styles, gaps = (
        generator.standard_normal((count, WIDTH)) / WIDTH**0.5 for count in (classes, domains, 2)
    )

    def rows(label: Any, domain: Any) -> Any:
        noise = generator.standard_normal((len(label), WIDTH)) / WIDTH**0.5
        made = gaps[0] + axes[label] + 0.3 * noise + (0.5 * styles[domain] if domains else 0)
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)

    def numbers(count: int) -> tuple[Any, Any]:
        grid = np.indices((classes, max(1, domains), count)).reshape(3, -1).astype(np.int16)
        return grid[0], grid[1]

    def texts() -> Any:
        return (gaps[1] + axes + 0.02 * generator.standard_normal(axes.shape)).astype(np.float32)

    label, domain = numbers(images)
    found = {
        "image": rows(label, domain),
        "label": label,
        "class_name": np.array([f"thing {number}" for number in range(classes)]),
        "text": texts(),
    }
    if domains:
        found["domain"] = domain
        found["domain_name"] = np.array([f"style {number}" for number in range(domains)])
    if shots:
        label, domain = numbers(shots)
        found |= {"shot_image": rows(label, domain), "shot_label": label}
        found |= {"shot_domain": domain} if domains else {}
    return found | {"text_alt": texts()}


def write(directory: Path, **files: dict[str, Any]) -> Path:
    """``real/NAME.npz`` for each; returns the directory of the benchmark."""
    (directory / "real").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        np.savez(directory / "real" / f"{name}.npz", **content)
    return directory


def without(content: dict[str, Any], *names: str) -> dict[str, Any]:
    """The file without some of its arrays."""
    return {name: array for name, array in content.items() if name not in names}
