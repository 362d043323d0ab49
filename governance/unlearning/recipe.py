"""Recipes: the method and hyperparameters of a fit, everything that determines it besides its rows."""

import math
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from governance.errors import InvalidInputError


class Method(StrEnum):
    """Where forgotten rows go and what is held; all are settings of one solver (`projector.solve`)."""

    REDIRECT = "redirect"
    CCUP = "ccup"
    MULTIMODAL = "multimodal"
    NULLSPACE = "nullspace"


@dataclass(frozen=True)
class Recipe:
    """Method and hyperparameters.

    Attributes:
        method: `redirect` (ours) sends forgotten rows to an anchor among the retained concepts and holds the retained
            rows; `ccup` (Consistent Class Unlearning Projection, arXiv 2512.14137) sends them to zero and holds the
            retained rows; `nullspace` (2512.14137) sends them to zero and holds nothing; `multimodal` (2512.14113) is
            the nullspace of text rows and visual prototypes together.
        strength: α in (0, 1], how far towards the goal (partial projection, 2512.14137).
        lambda_forget: λf, weight of the forgotten rows.
        lambda_retain: λr, weight of the retained rows; 0 means that none are used.
        mu: μ, weight of staying near the identity; 0 means the limit μ → 0.
        overshoot: κ, how many times the way to its anchor a row goes whose class stays retained in other domains.
            Images respond less than the text that the edit is fitted to. Only `redirect`.
        sibling_weight: λr of a row is multiplied by this where its class is forgotten in another domain only, since
            those rows are the ones that such an edit damages. Only `redirect`.
        margin: ρ in [0, 1), share of its zero-shot margin that every retained row keeps; rows that would lose more are
            held more strongly and the problem is solved again. Only `redirect`.
        contraction: for a domain in which nothing is retained, how far its rows go to their mean. Only `redirect`.
        shift: and how far they go, all alike, in the direction of the retained class that is cheapest to reach.
            Only `redirect`.
        both_sides: fold an edit into the text tower too, see `composition.compose`.
    """

    method: Method = Method.REDIRECT
    strength: float = 1.0
    lambda_forget: float = 1e3
    lambda_retain: float = 3.0
    mu: float = 1.0
    overshoot: float = 1.15
    sibling_weight: float = 2.0
    margin: float = 0.1
    contraction: float = 0.5
    shift: float = 0.7
    both_sides: bool = False

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InvalidInputError: a value outside its range.
        """
        if not 0 < self.strength <= 1:
            raise InvalidInputError(f"strength must lie in (0, 1], not {self.strength}")
        for name in ("lambda_forget", "overshoot", "sibling_weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInputError(
                    f"{_flag(name)} must be positive, not {getattr(self, name)}"
                )
        for name in ("lambda_retain", "mu", "contraction", "shift"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(
                    f"{_flag(name)} must not be negative, not {getattr(self, name)}"
                )
        if not 0 <= self.margin < 1:
            raise InvalidInputError(f"margin must lie in [0, 1), not {self.margin}")
        if self.lambda_retain > 0 and self.mu == 0:
            raise InvalidInputError("mu must be positive when retained rows are used")
        if self.contraction == 0 and self.shift == 0:
            raise InvalidInputError("contraction and shift must not both be 0: a domain would stay")

    @classmethod
    def of(
        cls,
        method: str,
        strength: float = 1.0,
        both_sides: bool = False,
        **values: float | None,
    ) -> "Recipe":
        """Defaults of `method`, with the given hyperparameters where they are not None.

        Raises:
            InvalidInputError: unknown method, a value outside its range, or one that the method does not use.
        """
        try:
            chosen = Method(method)
        except ValueError:
            raise InvalidInputError(
                f"unknown method {method!r}; known: {', '.join(Method)}"
            ) from None
        given = {name: value for name, value in values.items() if value is not None}
        if chosen is not Method.REDIRECT and (foreign := sorted(given.keys() & REDIRECT_ONLY)):
            raise InvalidInputError(f"{_flag(foreign[0])} is for the method redirect only")
        numbers: dict[str, Any] = _DEFAULTS[chosen] | given
        return cls(method=chosen, strength=strength, both_sides=both_sides, **numbers)

    def for_text(self) -> "Recipe":
        """The recipe of the text side: towards the plain mean of the retained rows, whatever the method.

        Prompts are fitted exactly, so nothing need overshoot, and a row sent to zero would have no direction left:
        after normalisation its logits would be rounding noise (0/0). Retained rows are always held, as `ccup` holds
        them where the recipe itself holds none: otherwise retained prompts turn with the forgotten ones.
        """
        holding = asdict(self) if self.holds_retained else _DEFAULTS[Method.CCUP]
        return replace(
            self,
            method=Method.REDIRECT,
            lambda_retain=holding["lambda_retain"],
            mu=holding["mu"],
            overshoot=1.0,
            sibling_weight=1.0,
            contraction=1.0,
            shift=0.0,
        )

    @property
    def holds_retained(self) -> bool:
        """Whether retained rows take part in the fit."""
        return self.lambda_retain > 0

    @property
    def anchored(self) -> bool:
        """Whether forgotten rows go to an anchor among the retained concepts; otherwise to zero."""
        return self.method is Method.REDIRECT

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        return asdict(self) | {"method": self.method.value}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Recipe":
        """Inverse of `to_dict`."""
        return cls(**(value | {"method": Method(value["method"])}))


HYPERPARAMETERS = tuple(
    field.name for field in fields(Recipe) if field.name not in ("method", "strength", "both_sides")
)
"""Names of the numbers that `Recipe.of` takes besides method and strength."""

REDIRECT_ONLY = frozenset({"overshoot", "sibling_weight", "margin", "contraction", "shift"})
"""Those that only `redirect` uses."""

_PLAIN = {"overshoot": 1.0, "sibling_weight": 1.0, "margin": 0.0}
_DEFAULTS: dict[Method, dict[str, float]] = {
    Method.REDIRECT: {},
    Method.CCUP: {"lambda_retain": 10.0, "mu": 0.1, **_PLAIN},
    Method.MULTIMODAL: {"lambda_retain": 0.0, "mu": 0.0, **_PLAIN},
    Method.NULLSPACE: {"lambda_retain": 0.0, "mu": 0.0, **_PLAIN},
}


def default_of(method: Method, name: str) -> float:
    """Default of a hyperparameter for a method."""
    return float(getattr(Recipe.of(method), name))


def _flag(name: str) -> str:
    return name.replace("_", "-")
