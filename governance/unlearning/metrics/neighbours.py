"""The retained concepts nearest to what is forgotten, where collateral damage shows first."""

from collections.abc import Sequence

from torch import Tensor


def nearest_retained(
    rows: Tensor, forgotten: Sequence[int], retained: Sequence[int], count: int
) -> dict[int, float]:
    """For each forgotten row its `count` nearest retained rows, by cosine of their texts; the union of them.

    Args:
        rows: unit text rows, m × d.
        forgotten: row numbers.
        retained: row numbers.
        count: how many for each forgotten row.

    Returns:
        Row number to its greatest cosine with a forgotten row, nearest first.
    """
    if not forgotten or not retained:
        return {}
    cosines = rows[list(forgotten)] @ rows[list(retained)].T
    best = cosines.topk(min(count, len(retained)), dim=1)
    found: dict[int, float] = {}
    for values, places in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        for value, place in zip(values, places, strict=True):
            row = retained[place]
            found[row] = max(value, found.get(row, -1.0))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
