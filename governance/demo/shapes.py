"""Outlines of the ten classes as layered polygons, before any drawing style.

Unit coordinates: x to the right, y down, the object fills about [-1, 1] in both. Every function
takes the generator that decides the variant: two scenes of one class differ in build and not only
in pose.
"""

from collections.abc import Callable

import numpy as np

from governance.demo.geometry import Part, Points, Rng, arc, box, line, pts, ribbon, smooth


def boat(rng: Rng) -> list[Part]:
    """A sailing boat: hull, mast, two sails, sometimes a flag."""
    deck, keel = 0.32 + rng.uniform(-0.05, 0.05), 0.85
    mast = rng.uniform(-0.12, 0.08)
    belly = rng.uniform(0.0, 0.16)
    hull = smooth([(-0.72, keel - 0.06), (0.0, keel), (0.62, keel - 0.06)], closed=False)
    hull = np.concatenate([pts([(-0.98, deck)]), hull, pts([(1.0, deck - 0.06)])])
    main = smooth(
        [(mast + 0.06, -0.88), (mast + 0.5 + belly, -0.25), (mast + 0.8, 0.18)], closed=False
    )
    jib = smooth(
        [(mast - 0.06, -0.7), (mast - 0.38 - belly, -0.2), (mast - 0.68, 0.18)], closed=False
    )
    parts = [
        Part(box(mast - 0.045, -1.0, mast + 0.045, deck + 0.02), "wood"),
        Part(np.concatenate([main, pts([(mast + 0.06, 0.18)])]), "light"),
        Part(np.concatenate([jib, pts([(mast - 0.06, 0.18)])]), "second"),
        Part(hull, "body"),
        Part(
            pts(
                [(-0.9, deck + 0.14), (0.92, deck + 0.09), (0.86, deck + 0.2), (-0.85, deck + 0.24)]
            ),
            "light",
        ),
    ]
    if rng.random() < 0.6:
        flag = pts([(mast, -1.0), (mast - 0.32, -0.92), (mast, -0.82)])
        parts.append(Part(flag, "accent"))
    return parts


def car(rng: Rng) -> list[Part]:
    """A car from the side: cabin, windows, body, two wheels, a lamp."""
    roof, hood = rng.uniform(-0.55, -0.42), rng.uniform(-0.06, 0.04)
    tail = rng.uniform(-0.95, -0.6)
    cabin = pts([(-0.78, 0.0), (tail + 0.28, roof), (0.22, roof), (0.58, 0.0)])
    body = smooth(
        [(-0.98, 0.02), (-0.7, -0.06), (0.0, -0.06), (0.55, hood - 0.02), (0.92, 0.1), (1.0, 0.34)],
        closed=False,
    )
    body = np.concatenate([body, pts([(0.97, 0.44), (-0.97, 0.44), (-1.02, 0.25)])])
    top = roof + 0.1
    rear = pts([(-0.62, -0.04), (tail + 0.36, top), (-0.17, top), (-0.17, -0.04)])
    front = pts([(-0.07, -0.04), (-0.07, top), (0.16, top), (0.43, -0.04)])
    parts = [Part(cabin, "body"), Part(rear, "glass"), Part(front, "glass"), Part(body, "body")]
    if rng.random() < 0.5:
        parts.append(Part(box(-0.96, 0.18, 0.97, 0.27), "second"))
    parts.append(Part(arc(0.9, 0.16, 0.08, 0.09), "light"))
    parts.append(line(-0.12, 0.02, -0.12, 0.38, 0.03))
    for x in (-0.56, 0.56):
        parts += [
            Part(arc(x, 0.44, 0.27, 0.27), "dark"),
            Part(arc(x, 0.44, 0.12, 0.12, n=14), "light"),
        ]
    return parts


def cat(rng: Rng) -> list[Part]:
    """A sitting cat seen from the front: tail, body, head with ears, whiskers."""
    lean = rng.uniform(-0.1, 0.1)
    reach = rng.uniform(0.65, 0.9)
    tail = smooth(
        [(0.3, 0.82), (reach, 0.72), (reach + 0.06, 0.3), (reach - 0.16, 0.05)], closed=False
    )
    body = smooth(
        [(-0.3, -0.05), (0.3, -0.05), (0.5, 0.55), (0.42, 0.92), (-0.42, 0.92), (-0.5, 0.55)]
    )
    hx, hy, ear = lean, -0.38, rng.uniform(0.42, 0.56)
    head = arc(hx, hy, 0.46, 0.38)
    parts = [Part(ribbon(tail, 0.2, 0.7), "body"), Part(body, "body")]
    parts.append(Part(arc(0.0, 0.42, 0.22, 0.34), "light"))
    for side in (-1, 1):
        parts.append(Part(arc(side * 0.22, 0.88, 0.17, 0.1, n=14), "body"))
    for side in (-1, 1):
        outer = [
            (hx + side * 0.44, hy - 0.05),
            (hx + side * 0.4, hy - 0.2 - ear),
            (hx + side * 0.06, hy - 0.3),
        ]
        inner = [
            (hx + side * 0.36, hy - 0.18),
            (hx + side * 0.35, hy - 0.08 - ear),
            (hx + side * 0.16, hy - 0.28),
        ]
        parts += [Part(pts(outer), "body"), Part(pts(inner), "accent")]
    parts.append(Part(head, "body"))
    for side in (-1, 1):
        eye = hx + side * 0.18
        parts += [Part(arc(eye, hy - 0.04, 0.1, 0.11, n=14), "eye")]
        parts += [Part(arc(eye, hy - 0.04, 0.04, 0.09, n=10), "dark")]
        for k in (-1, 1):
            parts.append(
                line(
                    hx + side * 0.2,
                    hy + 0.15 + 0.02 * k,
                    hx + side * 0.66,
                    hy + 0.13 + 0.09 * k,
                    0.03,
                )
            )
    parts.append(
        Part(pts([(hx - 0.07, hy + 0.09), (hx + 0.07, hy + 0.09), (hx, hy + 0.17)]), "accent")
    )
    if rng.random() < 0.5:
        for k in (-1, 0, 1):
            parts.append(line(hx + 0.11 * k, hy - 0.33, hx + 0.09 * k, hy - 0.2, 0.05))
    return parts


def fish(rng: Rng) -> list[Part]:
    """A fish from the side: forked tail, fins, stripes, an eye."""
    fat = rng.uniform(0.38, 0.56)
    fork = rng.uniform(0.34, 0.52)
    body = smooth([(0.92, 0.02), (0.5, -fat * 0.85), (-0.05, -fat), (-0.6, -0.14)], closed=False)
    lower = smooth([(-0.6, 0.14), (-0.05, fat), (0.5, fat * 0.85), (0.92, 0.02)], closed=False)
    tail = pts([(-0.5, 0.0), (-1.0, -fork), (-0.82, 0.0), (-1.0, fork)])
    back = smooth([(0.3, -fat * 0.8), (0.0, -fat - 0.3), (-0.4, -fat - 0.18), (-0.35, -fat * 0.6)])
    belly = smooth([(0.05, fat * 0.8), (-0.2, fat + 0.24), (-0.36, fat * 0.7)])
    parts = [Part(tail, "second"), Part(back, "second"), Part(belly, "second")]
    parts.append(Part(np.concatenate([body, lower]), "body"))
    for x in np.linspace(-0.3, 0.15, int(rng.integers(0, 4))):
        half = fat * (0.78 - abs(x) * 0.6)
        curve = smooth([(x, -half), (x - 0.08, 0.0), (x, half)], closed=False)
        parts.append(Part(ribbon(curve, 0.11), "light"))
    gill = smooth([(0.42, -fat * 0.5), (0.32, 0.0), (0.42, fat * 0.5)], closed=False)
    parts.append(Part(ribbon(gill, 0.04), "line"))
    parts.append(Part(pts([(0.26, 0.02), (-0.06, -0.1), (-0.02, 0.2)]), "second"))
    parts += [
        Part(arc(0.62, -0.12, 0.11, 0.11, n=14), "light"),
        Part(arc(0.64, -0.12, 0.055, 0.055, n=10), "dark"),
    ]
    parts.append(line(0.72, 0.16, 0.88, 0.1, 0.04))
    return parts


def flower(rng: Rng) -> list[Part]:
    """A flower on a stem with leaves; five to eight petals, round or pointed."""
    count = int(rng.integers(5, 9))
    cx, cy = rng.uniform(-0.12, 0.12), -0.36
    bend = rng.uniform(-0.2, 0.2)
    stem = smooth([(cx, cy), (cx * 0.5 + bend, 0.4), (0.0, 1.0)], closed=False)
    parts = [Part(ribbon(stem, 0.1), "leaf")]
    for side in (-1, 1):
        y = 0.45 + rng.uniform(-0.08, 0.16)
        root = (bend * 0.6, y + 0.22)
        leaf = smooth(
            [root, (side * 0.28, y + 0.02), (side * 0.62, y - 0.14), (side * 0.42, y + 0.2)]
        )
        parts.append(Part(leaf, "leaf"))
    pointed = rng.random() < 0.4
    turn, wide = rng.uniform(0.0, 360.0), 2.15 / count
    for k in range(count):
        a = np.radians(turn + 360.0 * k / count)
        if pointed:
            petal = pts([(0.05, 0.0), (0.3, -wide * 0.55), (0.64, 0.0), (0.3, wide * 0.55)])
        else:
            petal = arc(0.37, 0.0, 0.27, wide * 0.62, n=18)
        spin = pts([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
        parts.append(Part(petal @ spin + (cx, cy), "body"))
    parts.append(Part(arc(cx, cy, 0.19, 0.19, n=18), "second"))
    return parts


def house(rng: Rng) -> list[Part]:
    """A house front: gable roof, chimney, door, one or two windows."""
    wide, eaves = rng.uniform(0.62, 0.8), rng.uniform(-0.15, 0.02)
    peak, door = rng.uniform(-0.95, -0.75), rng.uniform(-0.15, 0.15)
    chimney = rng.uniform(0.3, 0.45)
    parts = [Part(box(chimney, peak + 0.08, chimney + 0.2, eaves), "second")]
    parts.append(Part(box(-wide, eaves - 0.02, wide, 0.9), "body"))
    parts.append(Part(pts([(-wide - 0.2, eaves), (0.0, peak), (wide + 0.2, eaves)]), "roof"))
    if rng.random() < 0.5:
        parts.append(Part(arc(0.0, 0.5 * (peak + eaves) + 0.1, 0.12, 0.12, n=16), "glass"))
    parts.append(Part(box(door - 0.16, 0.36, door + 0.16, 0.9), "wood"))
    parts.append(Part(arc(door + 0.09, 0.64, 0.035, 0.035, n=8), "light"))
    for side in (-1, 1):
        x = side * wide * 0.62 + door * 0.3
        parts.append(Part(box(x - 0.15, eaves + 0.16, x + 0.15, eaves + 0.48), "glass"))
        parts += [
            line(x, eaves + 0.16, x, eaves + 0.48, 0.035),
            line(x - 0.15, eaves + 0.32, x + 0.15, eaves + 0.32, 0.035),
        ]
    return parts


def key(rng: Rng) -> list[Part]:
    """A key: bow with a hole, shaft, two or three teeth."""
    kind = int(rng.integers(3))
    if kind == 0:
        bow, hole = arc(-0.6, 0.0, 0.4, 0.4), arc(-0.64, 0.0, 0.2, 0.2, n=18)
    elif kind == 1:
        bow = pts([(-1.0, 0.0), (-0.6, -0.42), (-0.2, 0.0), (-0.6, 0.42)])
        hole = pts([(-0.84, 0.0), (-0.62, -0.2), (-0.4, 0.0), (-0.62, 0.2)])
    else:
        bow = smooth(
            [
                (-0.98, -0.24),
                (-0.6, -0.42),
                (-0.24, -0.22),
                (-0.24, 0.22),
                (-0.6, 0.42),
                (-0.98, 0.24),
            ]
        )
        hole = arc(-0.68, 0.0, 0.17, 0.2, n=18)
    half = rng.uniform(0.09, 0.13)
    outline = [(-0.3, -half), (0.95, -half), (1.0, 0.0), (0.95, half)]
    x = 0.9
    for _ in range(int(rng.integers(2, 4))):
        depth = rng.uniform(0.24, 0.4)
        outline += [(x, half), (x, half + depth), (x - 0.17, half + depth), (x - 0.17, half)]
        x -= 0.29
    outline.append((-0.3, half))
    return [
        Part(pts(outline), "metal"),
        Part(bow, "metal", holes=(hole,)),
        Part(box(-0.28, -half - 0.05, -0.19, half + 0.05), "second"),
    ]


def mug(rng: Rng) -> list[Part]:
    """A mug: body, rim, handle at the right, sometimes a band or steam."""
    top, bottom = rng.uniform(-0.58, -0.42), rng.uniform(0.68, 0.85)
    foot = rng.uniform(0.38, 0.54)
    middle = 0.5 * (top + bottom)
    grip = rng.uniform(0.3, 0.4)
    handle = arc(0.36, middle, 0.52, grip, -88, 88, n=18)
    body = np.concatenate(
        [arc(-0.15, bottom - 0.1, foot, 0.12, 0, 180, n=14), pts([(-0.72, top), (0.42, top)])]
    )
    parts = [Part(ribbon(handle, 0.15), "body"), Part(body, "body")]
    kind = rng.random()
    if kind < 0.35:
        parts.append(
            Part(
                pts(
                    [
                        (-0.69, middle - 0.1),
                        (0.39, middle - 0.1),
                        (0.37, middle + 0.12),
                        (-0.67, middle + 0.12),
                    ]
                ),
                "second",
            )
        )
    elif kind < 0.6:
        parts.append(Part(arc(-0.15, middle + 0.05, 0.2, 0.2, n=16), "second"))
    parts += [
        Part(arc(-0.15, top, 0.57, 0.15), "light"),
        Part(arc(-0.15, top + 0.02, 0.48, 0.1), "coffee"),
    ]
    if rng.random() < 0.4:
        for x in (-0.35, 0.02):
            steam = smooth(
                [
                    (x, top - 0.16),
                    (x + 0.09, top - 0.26),
                    (x - 0.05, top - 0.36),
                    (x + 0.04, top - 0.46),
                ],
                closed=False,
            )
            parts.append(Part(ribbon(steam, 0.05), "line"))
    return parts


def star(rng: Rng) -> list[Part]:
    """A five-pointed star, plain, with a smaller star inside or with a ridge to each point."""
    inner = rng.uniform(0.36, 0.5)
    t = np.radians(np.arange(10) * 36.0 - 90.0)
    radius = np.where(np.arange(10) % 2 == 0, 1.0, inner)
    outline = np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)
    parts = [Part(outline, "body")]
    kind = rng.random()
    if kind < 0.4:
        parts.append(Part(outline * rng.uniform(0.45, 0.62), "second"))
    elif kind < 0.75:
        for k in range(0, 10, 2):
            parts.append(Part(np.stack([outline[k], outline[k + 1], np.zeros(2)]), "second"))
    return parts


def tree(rng: Rng) -> list[Part]:
    """A tree: a lobed crown or a conifer of three tiers, on a trunk."""
    girth = rng.uniform(0.1, 0.17)
    trunk = pts([(-girth, 0.2), (girth, 0.2), (girth * 1.6, 1.0), (-girth * 1.6, 1.0)])
    parts = [Part(trunk, "wood")]
    if rng.random() < 0.45:
        wide = rng.uniform(0.55, 0.75)
        for y, w in ((0.62, wide), (0.16, wide * 0.8), (-0.28, wide * 0.58)):
            tier = smooth(
                [(-w, y), (-w * 0.5, y + 0.08), (0.0, y + 0.04), (w * 0.5, y + 0.08), (w, y)],
                closed=False,
            )
            parts.append(Part(np.concatenate([tier, pts([(0.0, y - 0.72)])]), "leaf"))
        return parts
    lobes = int(rng.integers(6, 10))
    t = np.linspace(0.0, 2 * np.pi, 90, endpoint=False)
    ripple = 1.0 + 0.13 * np.abs(np.sin(0.5 * lobes * t + rng.uniform(0, 3)))
    crown = np.stack([0.66 * ripple * np.cos(t), -0.3 + 0.56 * ripple * np.sin(t)], axis=1)
    parts.append(Part(crown, "leaf"))
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(3, 6))):
            x, y = rng.uniform(-0.42, 0.42), -0.3 + rng.uniform(-0.36, 0.36)
            parts.append(Part(arc(x, y, 0.085, 0.085, n=12), "accent"))
    return parts


SHAPES: dict[str, Callable[[Rng], list[Part]]] = {
    f.__name__: f for f in (boat, car, cat, fish, flower, house, key, mug, star, tree)
}
"""Class name to the function that builds its parts."""

TURN_DEGREES: dict[str, float] = {"star": 36.0, "key": 50.0, "fish": 30.0}
"""Largest rotation either way; things that stand on the ground keep the default of `place`."""


def place(label: str, rng: Rng) -> list[Part]:
    """One instance of `label` posed in the frame: points in [0, 1]² (x right, y down).

    Raises KeyError for a label without a shape.
    """
    parts = SHAPES[label](rng)
    turn = np.radians(rng.uniform(-1.0, 1.0) * TURN_DEGREES.get(label, 14.0))
    size = rng.uniform(0.27, 0.4)
    stretch = np.exp(rng.uniform(-0.14, 0.14))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    shear = rng.uniform(-0.12, 0.12)
    slack = 0.46 - size
    centre = 0.5 + rng.uniform(-slack, slack, 2)
    phase, bend = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.0, 0.05)
    c, s = np.cos(turn), np.sin(turn)
    matrix = pts([[flip * stretch, 0.0], [shear, 1.0 / stretch]]) @ pts([[c, s], [-s, c]]) * size

    def pose(points: Points) -> Points:
        # A slow wave bends straight edges a little: no two outlines are affine copies.
        wave = bend * np.sin(2.2 * points[:, ::-1] + phase)
        return (points + wave) @ matrix + centre

    return [Part(pose(p.points), p.role, tuple(pose(h) for h in p.holes)) for p in parts]
