"""The sketch domain: lines and hatching, no fill."""

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from governance.demo.canvas import (
    blur,
    floats,
    hsv,
    mask_of,
    noise,
    picture,
    shifted,
    silhouette,
    to_pixels,
)
from governance.demo.geometry import Part, Points, Rng

_TONE = {
    "body": 1,
    "second": 2,
    "accent": 1,
    "light": 0,
    "dark": 4,
    "line": 4,
    "eye": 0,
    "glass": 1,
    "wood": 3,
    "roof": 2,
}


def _pencil(
    draw: ImageDraw.ImageDraw, points: Points, rng: Rng, grey: int, width: float, side: int
) -> None:
    """One hand-drawn line through points (n, 2): wobbles and overshoots a little."""
    wobble = rng.normal(0, 0.0045, points.shape)
    wobble[1:-1] = (wobble[:-2] + wobble[1:-1] + wobble[2:]) / 1.7
    drift = rng.normal(0, 0.004, 2)
    draw.line(
        to_pixels(points + wobble + drift, side), fill=grey, width=max(1, round(width * side))
    )


def _hatch(rng: Rng, side: int, gap: float, angle: float, grey: int) -> Image.Image:
    """Parallel lines over the frame, `gap` apart (fraction of the side), as darkness 0 to 255."""
    layer = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(layer)
    along, across = (
        np.asarray([np.cos(angle), np.sin(angle)]),
        np.asarray([-np.sin(angle), np.cos(angle)]),
    )
    offsets = np.arange(-0.75, 0.75, gap)
    shades = rng.integers(max(0, grey - 45), grey + 20, len(offsets))
    tilts = rng.normal(0, 0.025, len(offsets))
    for offset, shade, tilt in zip(offsets, shades, tilts, strict=True):
        centre = 0.5 + offset * across
        reach = 0.8 * (along + tilt * across)
        draw.line(
            to_pixels(np.stack([centre - reach, centre + reach]), side),
            fill=int(shade),
            width=max(1, side // 90),
        )
    return layer


def sketch(parts: list[Part], label: str, rng: Rng, side: int) -> Image.Image:
    """Pencil on tinted paper: doubled shaky outlines, hatching, construction lines, smudges."""
    del label  # graphite has one palette for everything
    dark = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(dark)
    for _ in range(int(rng.integers(2, 6))):
        ends = rng.uniform(-0.1, 1.1, (2, 2))
        _pencil(draw, ends, rng, int(rng.integers(25, 70)), 0.006, side)
    for _ in range(int(rng.integers(2, 5))):
        centre, turns = rng.uniform(0.05, 0.95, 2), np.linspace(0, rng.uniform(6, 30), 40)
        swing = np.stack(
            [np.cos(turns) * 0.05 + turns * 0.004, np.sin(turns) * rng.uniform(0.02, 0.06)], axis=1
        )
        _pencil(draw, centre + swing, rng, int(rng.integers(40, 110)), 0.007, side)
    masks = [mask_of(p, side) for p in parts]
    union = silhouette(masks)
    angle = rng.uniform(0.5, 1.1) * rng.choice((-1.0, 1.0))
    loose = _hatch(rng, side, 0.034, angle, 110)
    tight = _hatch(rng, side, 0.02, angle + rng.uniform(-0.2, 0.2), 150)
    cross = ImageChops.lighter(tight, _hatch(rng, side, 0.024, angle + 1.4, 140))
    empty = Image.new("L", (side, side), 0)
    tones = [
        empty,
        loose,
        tight,
        cross,
        ImageChops.lighter(cross, Image.new("L", (side, side), 120)),
    ]
    ground = ImageChops.subtract(shifted(union, rng.choice((-0.06, 0.06)), 0.05), union)
    dark.paste(ImageChops.lighter(dark, loose), (0, 0), ground)
    extra, bare = int(rng.integers(0, 2)), rng.random() < 0.3
    side_shade = ImageChops.subtract(union, shifted(union, -0.08, -0.05))
    for part, mask in zip(parts, masks, strict=True):
        level = _TONE.get(part.role, 1)
        level = 0 if bare and level < 3 else min(level + (extra if level else 0), 4)
        dark.paste(tones[level], (0, 0), mask)
        if part.role == "line":
            continue
        dark.paste(ImageChops.lighter(dark, tight), (0, 0), ImageChops.multiply(mask, side_shade))
        small = np.ptp(part.points, axis=0).max() < 0.1
        for ring in (part.points, *part.holes):
            closed = np.concatenate([ring, ring[:1]])
            for _ in range(1 if small else 2):
                _pencil(
                    draw, closed, rng, int(rng.integers(165, 235)), 0.009 if small else 0.011, side
                )
    paper = np.asarray(
        hsv(rng.choice((0.11, 0.13, 0.6, 0.08)), rng.uniform(0.02, 0.2), rng.uniform(0.82, 1.0)),
        np.float32,
    )
    tooth = np.clip(0.86 + 0.17 * noise(rng, side), 0.45, 1.1)
    smudge = np.clip(noise(rng, side, 5), 0, 2) * rng.uniform(0, 9)
    graphite = np.asarray(hsv(0.62, 0.12, rng.uniform(0.12, 0.28)), np.float32)
    cover = np.clip(floats(blur(dark, 0.0022)) / 255 * tooth, 0, 1)[..., None]
    sheet = paper + (2.5 * noise(rng, side, 64) - smudge)[..., None]
    return picture(sheet * (1 - cover) + graphite * cover)
