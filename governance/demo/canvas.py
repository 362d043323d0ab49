"""What the four drawing styles share: palettes, masks, and noise that knows no resolution.

Random fields are drawn on a grid of fixed size and resampled, so that one scene consumes the same
random numbers at every resolution and stays the same scene.
"""

import colorsys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from governance.demo.geometry import Part, Points, Rng

Colour = tuple[int, int, int]
Floats = NDArray[np.float32]

GRID = 96
"""Side of the grid on which fine grain is drawn, in cells."""


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """8-bit RGB of hue (wraps), saturation and value in [0, 1] (clipped)."""
    s, v = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, s, v)
    return round(255 * r), round(255 * g), round(255 * b)


def luminance(colour: Colour) -> float:
    """Rec. 601 luma of an 8-bit colour, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def scale(colour: Colour, factor: float) -> Colour:
    """`colour` lightened or darkened by a factor, clipped to 8 bits."""
    r, g, b = (min(255, max(0, round(c * factor))) for c in colour)
    return r, g, b


def palette(label: str, rng: Rng, saturation: float) -> dict[str, Colour]:
    """One colour for each role of a shape; `saturation` in [0, 1] scales how vivid they are."""
    hue = float(rng.random())
    if label == "cat":
        # Fur: ginger, cream, grey or black; a green cat is recognisable only to its painter.
        fur = ((0.07, 0.75, 0.9), (0.1, 0.35, 0.95), (0.6, 0.08, 0.62), (0.65, 0.15, 0.3))
        h, s, v = fur[int(rng.integers(4))]
        body = hsv(h + rng.uniform(-0.02, 0.02), s * saturation, v)
    elif label == "star" and rng.random() < 0.5:
        body = hsv(0.14 + rng.uniform(-0.03, 0.02), saturation, 1.0)
    elif label == "house":
        body = hsv(hue, rng.uniform(0.1, 0.5) * saturation, rng.uniform(0.75, 1.0))
    else:
        body = hsv(hue, rng.uniform(0.65, 1.0) * saturation, rng.uniform(0.65, 1.0))
    other = hue + rng.choice((0.08, 0.33, 0.5, 0.62))
    leaf = rng.choice((0.22, 0.3, 0.36)) if rng.random() < 0.8 else 0.08
    metal = rng.choice((0.12, 0.1, 0.6))
    return {
        "body": body,
        "second": hsv(other, rng.uniform(0.5, 0.9) * saturation, rng.uniform(0.6, 1.0)),
        "accent": hsv(0.97 + rng.uniform(-0.03, 0.05), 0.6 * saturation, 0.95),
        "light": hsv(0.12, 0.1 * saturation, rng.uniform(0.9, 1.0)),
        "dark": hsv(hue, 0.2, rng.uniform(0.1, 0.2)),
        "line": hsv(hue, 0.2, 0.16),
        "eye": hsv(rng.choice((0.16, 0.3, 0.5)), 0.6 * saturation, 0.95),
        "glass": hsv(0.55 + rng.uniform(-0.04, 0.04), 0.35 * saturation, rng.uniform(0.7, 0.95)),
        "wood": hsv(0.07 + rng.uniform(-0.02, 0.02), 0.65 * saturation, rng.uniform(0.4, 0.6)),
        "roof": hsv(rng.choice((0.02, 0.06, 0.6)), 0.7 * saturation, rng.uniform(0.5, 0.8)),
        "leaf": hsv(leaf + rng.uniform(-0.03, 0.03), 0.75 * saturation, rng.uniform(0.45, 0.8)),
        "metal": hsv(metal, rng.uniform(0.15, 0.75) * saturation, rng.uniform(0.8, 1.0)),
        "coffee": hsv(0.06, 0.7 * saturation, 0.3),
    }


def backdrop(subject: Colour, rng: Rng, draw: Callable[[Rng], Colour]) -> Colour:
    """The first of a few draws that stands out from `subject`, else the one furthest from it."""
    tries = [draw(rng) for _ in range(6)]
    # Lightness counts double: it is what keeps a thin shape legible at 64 pixels.
    distance = [
        sum(abs(a - b) for a, b in zip(c, subject, strict=True))
        + 2 * abs(luminance(c) - luminance(subject))
        for c in tries
    ]
    far = [c for c, d in zip(tries, distance, strict=True) if d > 280]
    return far[0] if far else tries[int(np.argmax(distance))]


def subject_colour(parts: list[Part], colours: dict[str, Colour]) -> Colour:
    """The colour of the largest part (by bounding box): what a background has to differ from."""
    largest = max(parts, key=lambda p: float(np.prod(np.ptp(p.points, axis=0))))
    return colours[largest.role]


def to_pixels(points: Points, side: int) -> list[tuple[float, float]]:
    """Frame coordinates (n, 2) in [0, 1] as the pixel pairs Pillow draws."""
    return [(float(x), float(y)) for x, y in points * side]


def mask_of(part: Part, side: int) -> Image.Image:
    """8-bit mask (side, side) of one part, holes cut out."""
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    draw.polygon(to_pixels(part.points, side), fill=255)
    for hole in part.holes:
        draw.polygon(to_pixels(hole, side), fill=0)
    return mask


def silhouette(masks: list[Image.Image]) -> Image.Image:
    """Union of part masks."""
    union = Image.new("L", masks[0].size, 0)
    for mask in masks:
        union.paste(255, (0, 0), mask)
    return union


def blur(image: Image.Image, radius: float) -> Image.Image:
    """Gaussian blur with `radius` as a fraction of the side."""
    return image.filter(ImageFilter.GaussianBlur(radius * image.width))


def shifted(image: Image.Image, dx: float, dy: float) -> Image.Image:
    """`image` moved by a fraction of its side, black where nothing was."""
    out = Image.new(image.mode, image.size, 0)
    out.paste(image, (round(dx * image.width), round(dy * image.height)))
    return out


def noise(rng: Rng, side: int, cells: int = GRID) -> Floats:
    """Smooth unit-variance noise (side, side) with about `cells` features along a side."""
    field = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(field).resize((side, side), Image.Resampling.BICUBIC))


def frame_grid(side: int) -> tuple[Floats, Floats]:
    """Frame coordinates x and y in [0, 1] of every pixel, each (side, side)."""
    t = np.linspace(0, 1, side, dtype=np.float32)
    x, y = np.meshgrid(t, t)
    return x, y


def floats(image: Image.Image) -> Floats:
    """Pixels as float32, 0 to 255."""
    return np.asarray(image, dtype=np.float32)


def picture(pixels: NDArray[np.floating[Any]]) -> Image.Image:
    """Pixels (side, side, 3), 0 to 255, as an 8-bit RGB image, clipped."""
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
