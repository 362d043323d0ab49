"""The four domains: each paints the same posed parts in its own medium.

Every painter takes parts in frame coordinates, the label, the generator and the side of the canvas
in pixels, and returns an RGB image of that side. Widths and counts are relative to the frame, never
to the pixel.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from governance.demo.canvas import (
    Colour,
    backdrop,
    blur,
    floats,
    frame_grid,
    hsv,
    mask_of,
    noise,
    palette,
    picture,
    scale,
    shifted,
    silhouette,
    subject_colour,
    to_pixels,
)
from governance.demo.geometry import Part, Points, Rng
from governance.demo.pencil import sketch

_RELIEF = 64
"""Side of the height map of a photo: coarse on purpose, a rounded body has no fine relief."""

Painter = Callable[[list[Part], str, Rng, int], Image.Image]


def _blob(rng: Rng, reach: float) -> Points:
    """Clutter that is none of the classes: a disc, a slab or a wedge somewhere in the frame."""
    centre, radius = rng.uniform(0.0, 1.0, 2), rng.uniform(0.3, 1.0) * reach
    corners = int(rng.choice((3, 4, 4, 20)))
    t = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, np.pi)
    points = np.stack([np.cos(t) * rng.uniform(0.5, 1.0), np.sin(t)], axis=1)
    return np.asarray(centre + radius * points)


def photo(parts: list[Part], label: str, rng: Rng, side: int) -> Image.Image:
    """Modelled light on a rounded body, soft shadow, blurred clutter behind, sensor noise."""
    colours = palette(label, rng, saturation=0.72)
    subject = subject_colour(parts, colours)
    wall = backdrop(
        subject, rng, lambda r: hsv(r.random(), r.uniform(0.05, 0.4), r.uniform(0.35, 1.0))
    )
    table = backdrop(
        subject, rng, lambda r: hsv(r.uniform(0.03, 0.15), r.uniform(0.1, 0.5), r.uniform(0.4, 1.0))
    )
    x, y = frame_grid(side)
    horizon, tilt = rng.uniform(0.45, 0.85), rng.uniform(-0.06, 0.06)
    ground = 1 / (1 + np.exp(-(y - horizon - tilt * x) / 0.012))[..., None]
    back = Image.new("RGB", (side, side), wall)
    draw = ImageDraw.Draw(back)
    for _ in range(int(rng.integers(4, 9))):
        tint = hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.3, 1.0))
        mixed = tuple(round(0.5 * a + 0.5 * b) for a, b in zip(tint, wall, strict=True))
        draw.polygon(to_pixels(_blob(rng, 0.22), side), fill=mixed)
    far = floats(blur(back, rng.uniform(0.02, 0.045)))
    grain = (
        noise(rng, side, 8)[:, :1] * 5 + np.repeat(noise(rng, side, 40)[:, :1], side, axis=1) * 5
    )
    near = np.asarray(table, np.float32) + (grain + 4 * noise(rng, side, 24))[..., None]
    scene = far * (1 - ground) + near * (0.75 + 0.35 * y[..., None]) * ground

    angle = rng.uniform(-2.6, -0.5)
    light = np.asarray([np.cos(angle), np.sin(angle)], np.float32)
    masks = [mask_of(p, side) for p in parts]
    union = silhouette(masks)
    shadow = blur(shifted(union, -0.07 * light[0], 0.05), 0.03)
    contact = blur(shifted(union, -0.02 * light[0], 0.02), 0.012)
    depth = (0.42 * floats(shadow) + 0.3 * floats(contact)) / 255
    scene = scene * (1 - depth[..., None])

    flat = Image.new("RGB", (side, side))
    height = np.zeros((_RELIEF, _RELIEF), np.float32)
    for part, mask in zip(parts, masks, strict=True):
        flat.paste(colours[part.role], (0, 0), mask)
        # A blurred mask stands in for the thickness of the part: its slope turns to the light.
        small = mask.resize((_RELIEF, _RELIEF), Image.Resampling.BOX)
        height += (
            floats(small) * (floats(blur(small, 0.035)) + 0.6 * floats(blur(small, 0.01))) / 255**2
        )
    relief = (
        floats(Image.fromarray(height).resize((side, side), Image.Resampling.BICUBIC))
        * 0.075
        * side
    )
    slope_y, slope_x = np.gradient(relief)
    norm = np.sqrt(slope_x**2 + slope_y**2 + 1)
    toward = (-slope_x * light[0] - slope_y * light[1] + 0.9) / norm / 1.35
    shade = np.clip(0.35 + 0.75 * toward, 0.25, 1.25)[..., None]
    shine = np.clip(toward, 0, 1)[..., None] ** 24 * rng.uniform(10, 90)
    alpha = floats(blur(union, 0.004))[..., None] / 255
    scene = scene * (1 - alpha) + (floats(flat) * shade + shine) * alpha

    cast = 1 + rng.uniform(-0.08, 0.08, 3).astype(np.float32)
    glow = (
        1.18
        + 0.3 * ((x - 0.5) * light[0] + (y - 0.5) * light[1])
        - 0.55 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    )
    scene = scene * cast * glow[..., None] * rng.uniform(0.85, 1.15)
    soft = floats(blur(picture(scene), rng.uniform(0.001, 0.008)))
    speckle = np.stack([noise(rng, side) for _ in range(3)], axis=-1)
    return picture(soft + rng.uniform(2.0, 7.0) * (0.5 * speckle + 0.7 * speckle[..., :1]))


def _strokes(
    image: Image.Image,
    base: NDArray[np.floating[Any]],
    rng: Rng,
    at: Points,
    angle: NDArray[np.floating[Any]],
    length: float,
    width: float,
    wild: float,
) -> None:
    """Brush marks at `at` (n, 2) in the colours `base` has there, off by about `wild` of 255."""
    side = image.width
    draw = ImageDraw.Draw(image)
    cell = np.clip((at * side).astype(int), 0, side - 1)
    jitter = rng.normal(0, 0.7, (len(at), 3)) + rng.normal(0, 1, (len(at), 1))
    colours = np.clip(base[cell[:, 1], cell[:, 0]] + wild * jitter, 0, 255)
    turn = angle[cell[:, 1], cell[:, 0]] + rng.normal(0, 0.22, len(at))
    along = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (
        0.5 * length * rng.uniform(0.6, 1.3, (len(at), 1))
    )
    across = along[:, ::-1] * (-1, 1) * (0.3 * width / length)
    ends = side * np.concatenate([at - along, at + along], axis=1)
    bristles = ends + side * np.tile(across, 2)
    # One lighter bristle along each mark makes it read as paint rather than as a pixel block.
    lighter = np.clip(colours + 22, 0, 255)
    thick = max(1, round(width * side))
    for mark, bristle, fill, light in zip(
        ends.tolist(),
        bristles.tolist(),
        colours.astype(int).tolist(),
        lighter.astype(int).tolist(),
        strict=True,
    ):
        draw.line(mark, fill=tuple(fill), width=thick)
        draw.line(bristle, fill=tuple(light), width=max(1, thick // 4))


def painting(parts: list[Part], label: str, rng: Rng, side: int) -> Image.Image:
    """Brush marks in three passes that follow the forms, a mixed palette, the weave of canvas."""
    colours = palette(label, rng, saturation=0.8)
    subject = subject_colour(parts, colours)
    fields = [
        backdrop(subject, rng, lambda r: hsv(r.random(), r.uniform(0.2, 0.65), r.uniform(0.3, 1.0)))
        for _ in range(3)
    ]
    base = Image.new("RGB", (side, side), fields[0])
    draw = ImageDraw.Draw(base)
    level = rng.uniform(0.5, 0.8)
    roll = np.linspace(-0.1, 1.1, 14)
    hill = np.stack(
        [roll, level + 0.07 * np.sin(roll * rng.uniform(3, 9) + rng.uniform(0, 6))], axis=1
    )
    draw.polygon(to_pixels(np.concatenate([hill, [[1.1, 1.1], [-0.1, 1.1]]]), side), fill=fields[1])
    for _ in range(int(rng.integers(3, 7))):
        draw.polygon(to_pixels(_blob(rng, 0.2), side), fill=fields[int(rng.integers(3))])
    base = blur(base, 0.02)
    masks = [mask_of(p, side) for p in parts]
    union = silhouette(masks)
    base.paste(scale(fields[1], 0.6), (0, 0), blur(shifted(union, 0.05, 0.05), 0.02))
    halo = blur(union, 0.012).point([min(255, 3 * v) for v in range(256)])
    base.paste(scale(fields[0], 0.5), (0, 0), halo)
    for part, mask in zip(parts, masks, strict=True):
        base.paste(scale(colours[part.role], 0.55), (0, 0), shifted(mask, 0.006, 0.008))
        base.paste(colours[part.role], (0, 0), mask)
    shade = (
        floats(ImageChops.subtract(union, blur(shifted(union, -0.07, -0.07), 0.02)))[..., None]
        / 255
    )
    pixels = floats(base) * (1 - 0.42 * shade)

    x, y = frame_grid(side)
    flow = rng.uniform(0, np.pi) + 0.9 * np.sin(
        rng.uniform(2, 5) * x + rng.uniform(2, 5) * y + rng.uniform(0, 6)
    )
    slope_y, slope_x = np.gradient(floats(blur(picture(pixels).convert("L"), 0.02)))
    follow = np.arctan2(slope_x, -slope_y)
    angle = np.where(np.hypot(slope_x, slope_y) * side > 130, follow, flow)
    canvas = picture(pixels)
    smooth = floats(blur(canvas, 0.015))
    _strokes(canvas, smooth, rng, rng.uniform(0, 1, (170, 2)), angle, 0.2, 0.05, 14)
    canvas.paste(picture(pixels), (0, 0), union)
    _strokes(canvas, pixels, rng, rng.uniform(0, 1, (260, 2)), angle, 0.1, 0.026, 13)
    # The last marks lie on the subject alone, near its colours, or thin shapes would dissolve.
    canvas.paste(picture(pixels), (0, 0), union)
    box = np.concatenate([p.points for p in parts])
    low, high = box.min(axis=0), box.max(axis=0)
    spots = np.clip(rng.uniform(low, high, (700, 2)), 0, 0.999)
    cells = (spots * 64).astype(int)
    inside = floats(union.resize((64, 64), Image.Resampling.BOX))[cells[:, 1], cells[:, 0]] > 160
    _strokes(canvas, pixels, rng, spots[inside][:420], angle, 0.045, 0.015, 12)
    # A glaze of the plain subject keeps thin shapes whole under marks that cross their edge.
    canvas.paste(picture(pixels * 1.06), (0, 0), union.point([round(0.5 * v) for v in range(256)]))
    # Small parts (eyes, windows, whiskers) would drown under the brush: they are dabbed on again.
    for part, mask in zip(parts, masks, strict=True):
        if np.ptp(part.points, axis=0).max() < 0.16 or part.role == "line":
            canvas.paste(scale(colours[part.role], rng.uniform(0.85, 1.1)), (0, 0), mask)

    thread = np.sin(2 * np.pi * 44 * x) * np.sin(2 * np.pi * 44 * y)
    bump = floats(canvas.convert("L"))
    emboss = bump - np.roll(bump, (1, 1), axis=(0, 1))
    paint = floats(canvas) * (1 + 0.045 * thread + 0.03 * noise(rng, side, 48))[..., None]
    return picture(paint + 0.22 * np.clip(emboss, -60, 60)[..., None])


def _pattern(draw: ImageDraw.ImageDraw, rng: Rng, side: int, ink: Colour) -> None:
    """A simple printed background: dots, stripes, checks, rays or waves."""
    kind, step = int(rng.integers(5)), rng.uniform(0.12, 0.2)
    count = int(2 / step)
    if kind == 0:
        for i in range(count):
            for j in range(count):
                cx, cy, r = (i + 0.5 * (j % 2)) * step * side, j * step * side, 0.24 * step * side
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=ink)
    elif kind == 1:
        lean = rng.choice((-1.0, 0.0, 1.0))
        for i in range(-count, count):
            a, b = 2 * i * step * side, (2 * i + 1) * step * side
            draw.polygon(
                [(a, 0), (b, 0), (b + lean * side, side), (a + lean * side, side)], fill=ink
            )
    elif kind == 2:
        for i in range(count):
            for j in range(i % 2, count, 2):
                corner = (i * step * side, j * step * side)
                draw.rectangle(
                    (*corner, corner[0] + step * side, corner[1] + step * side), fill=ink
                )
    elif kind == 3:
        hub = rng.uniform(0.3, 0.7, 2)
        rays = int(rng.integers(7, 13))
        for k in range(rays):
            t = 2 * np.pi * (k + np.asarray((0.0, 0.5))) / rays
            rim = hub + 1.6 * np.stack([np.cos(t), np.sin(t)], axis=1)
            draw.polygon(to_pixels(np.concatenate([hub[None], rim]), side), fill=ink)
    else:
        t = np.linspace(0, 1, 30)
        for j in range(count):
            wave = np.stack([t, j * step + 0.3 * step * np.sin(2 * np.pi * t / step / 1.5)], axis=1)
            draw.line(to_pixels(wave, side), fill=ink, width=max(1, round(0.3 * step * side)))


def cartoon(parts: list[Part], label: str, rng: Rng, side: int) -> Image.Image:
    """Flat saturated fills, one hard shade, thick dark outlines, a printed pattern behind."""
    colours = palette(label, rng, saturation=1.0)
    subject = subject_colour(parts, colours)
    paper = backdrop(
        subject, rng, lambda r: hsv(r.random(), r.uniform(0.25, 0.8), r.uniform(0.85, 1.0))
    )
    image = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(image)
    _pattern(draw, rng, side, scale(paper, rng.choice((0.84, 0.9, 1.16))))
    ink = hsv(rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.05, 0.16))
    width = rng.uniform(0.02, 0.032)

    def outline(points: Points, factor: float = 1.0) -> None:
        ring = to_pixels(np.concatenate([points, points[:2]]), side)
        draw.line(ring, fill=ink, width=max(1, round(width * factor * side)), joint="curve")

    for _ in range(int(rng.integers(2, 5))):
        blob = _blob(rng, 0.09)
        draw.polygon(to_pixels(blob, side), fill=hsv(rng.random(), 0.8, 1.0))
        outline(blob, 0.7)
    masks = [mask_of(p, side) for p in parts]
    union = silhouette(masks)
    lit = ImageChops.subtract(union, shifted(union, -0.035, -0.035))
    for part in parts:
        if part.role != "line" and np.ptp(part.points, axis=0).max() > 0.1:
            outline(part.points, 2.0)
    for part, mask in zip(parts, masks, strict=True):
        colour = ink if part.role == "line" else colours[part.role]
        image.paste(colour, (0, 0), mask)
        if part.role == "line":
            continue
        image.paste(scale(colour, 0.72), (0, 0), ImageChops.multiply(mask, lit))
        small = np.ptp(part.points, axis=0).max() < 0.1
        outline(part.points, 0.45 if small else 1.0)
        for hole in part.holes:
            outline(hole)
    return image


PAINTERS: dict[str, Painter] = {
    "photo": photo,
    "painting": painting,
    "cartoon": cartoon,
    "sketch": sketch,
}
"""Domain name to its painter."""
