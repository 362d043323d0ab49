"""Points, parts and the few curves that the shapes are cut from."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class Part:
    """One filled polygon; later parts of a shape cover earlier ones.

    `points` (n, 2), `role` names its colour in the palette, `holes` are polygons cut out of it.
    """

    points: Points
    role: str
    holes: tuple[Points, ...] = field(default=())


def pts(points: ArrayLike) -> Points:
    """Anything of shape (n, 2) as float64 points."""
    return np.asarray(points, dtype=np.float64)


def arc(
    cx: float, cy: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0, n: int = 28
) -> Points:
    """`n` points of an ellipse from angle `start` to `stop` in degrees, clockwise on screen."""
    t = np.radians(np.linspace(start, stop, n, endpoint=stop - start != 360.0))
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """The four corners of an upright rectangle."""
    return pts([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def smooth(
    points: Sequence[tuple[float, float]], per_segment: int = 6, closed: bool = True
) -> Points:
    """Catmull-Rom spline through `points` (k, 2); returns (k * per_segment, 2) when closed."""
    p = pts(points)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0.0, 1.0, per_segment, endpoint=False)[:, None]
    out = [
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True)
    ]
    if not closed:
        out.append(p[-1:])
    return np.concatenate(out)


def ribbon(points: Points, width: float, taper: float = 1.0) -> Points:
    """The band of `width` around an open curve (n, 2), narrowing to `taper * width` at its end."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    half = 0.5 * width * np.linspace(1.0, taper, len(points))[:, None]
    normal = tangent[:, ::-1] * (-1.0, 1.0)
    return np.concatenate([points + half * normal, (points - half * normal)[::-1]])


def line(x0: float, y0: float, x1: float, y1: float, width: float = 0.045) -> Part:
    """A thin dark stroke: a whisker, a glazing bar."""
    return Part(ribbon(pts([(x0, y0), (x1, y1)]), width), "line")
