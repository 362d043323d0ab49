"""How figures are written for people."""


def percent(value: float | None) -> str:
    """A fraction with one decimal; never rounded up to all or down to nothing."""
    if value is None:
        return "–"
    text = f"{100 * value:.1f}%"
    if text == "100.0%" and value < 1:
        return ">99.9%"
    if text == "0.0%" and value > 0:
        return "<0.1%"
    return text
