"""Intervals of shares, on plain numbers."""

import math

Z95 = 1.959963984540054
"""Two-sided 95% quantile of the normal distribution."""


def wilson(share: float, n: int) -> tuple[float, float]:
    """95% score interval of a share (Wilson 1927): (p + z²/2n ± z√(p(1−p)/n + z²/4n²)) / (1 + z²/n).

    Args:
        share: p, in [0, 1].
        n: number of samples; without any, nothing is known and the interval is (0, 1).
    """
    if not n:
        return 0.0, 1.0
    z2 = Z95**2 / n
    centre = share + z2 / 2
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    low = 0.0 if share == 0 else (centre - half) / (1 + z2)
    high = 1.0 if share == 1 else (centre + half) / (1 + z2)
    return low, high
