"""Recipes: the method and hyperparameters of a fit, everything that determines it besides its rows."""

import math
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from governance.errors import InvalidInputError


class Method(StrEnum):
    """How an edit is fitted: ours, or exactly what the papers do."""

    REDIRECT = "redirect"
    CCUP = "ccup"
    MULTIMODAL = "multimodal"
    NULLSPACE = "nullspace"


@dataclass(frozen=True)
class Recipe:
    """Method and hyperparameters. docs/design.md, *The edit*, derives each; `Recipe.of` gives a method's defaults.

    Weights of `redirect` are relative: a retained text counts `lambda_retain`. Two of them grow with the *room*, d / k:
    how many times the k classes that are forgotten everywhere would fit into the d dimensions. Few are removed almost
    exactly, hundreds only as far as the retained texts allow.

    Attributes:
        method: `redirect` (ours) nulls the difference between a forgotten text and its anchor, a mean of the nearest
            retained texts, in the metric of the retained texts; what depends on the image is a two-sided least-squares
            fit. `ccup` (Consistent Class Unlearning Projection, arXiv 2512.14137) sends rows to zero and holds the
            retained rows; `nullspace` (2512.14137) sends them to zero and holds nothing; `multimodal` (2512.14113) is
            the nullspace of text rows and visual prototypes together.
        strength: α in (0, 1], how far towards the goal (partial projection, 2512.14137).
        lambda_forget: λf, weight of a forgotten text, for `redirect` in a space without room.
        forget_room: what is added to λf for each unit of room. Only `redirect`.
        lambda_retain: λr, weight of a retained text; 0 means that none are used.
        mu: μ, weight of staying near the identity; for `redirect` in units of the mean eigenvalue of the retained
            texts' Gram matrix. 0 means the limit μ → 0.
        mu_room: what is added to μ for each unit of room. Only `redirect`.
        anchors: how many of the nearest retained texts an anchor is the mean of. Only `redirect`.
        lambda_image: weight of an image row that is to change; other image rows count 1. Only `redirect`.
        sibling_weight: weight of image rows of the same class in the other domains, since those are the ones that
            forgetting it in one domain damages. None: 4.5 for a text, 15 for a mean of images. Only `redirect`.
        scatter: weight of the scatter of few-shot images around their means. Only `redirect`.
        mu_image: weight of staying near zero on the image side, in units of the mean eigenvalue. None: 8 where texts
            alone stand for images, 4 with images. Only `redirect`.
        overshoot: κ, how many times its lead over the next class is taken from a class in one domain. None: 2.2 from
            texts alone, 2.3 with images beside a prompt that names the domain, 3.4 from images alone, because
            images that were not seen respond less than those that were. Only `redirect`.
        contraction: for a domain in which nothing is retained, how far its logits go to their mean. Only `redirect`.
        shift: and how far, in leads of a class, one retained class is raised for its images. Only `redirect`.
        both_sides: fold an edit into the text tower too, see `composition.compose`.
        irreversible: null the texts that name no domain of what is forgotten everywhere exactly, whatever the room, so
            that P is singular. Only `redirect`.
        synonyms: move the label file's synonyms of a forgotten class like the class itself. Only `redirect`.
    """

    method: Method = Method.REDIRECT
    strength: float = 1.0
    lambda_forget: float = 2.5
    forget_room: float = 0.4
    lambda_retain: float = 1.0
    mu: float = 0.018
    mu_room: float = 0.001
    anchors: int = 20
    lambda_image: float = 10.0
    sibling_weight: float | None = None
    scatter: float = 300.0
    mu_image: float | None = None
    overshoot: float | None = None
    contraction: float = 0.7
    shift: float = 0.95
    both_sides: bool = False
    irreversible: bool = False
    synonyms: bool = False

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InvalidInputError: a value outside its range.
        """
        if not 0 < self.strength <= 1:
            raise InvalidInputError(f"strength must lie in (0, 1], not {self.strength}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidInputError(f"{_flag(name)} must be positive, not {value}")
        for name in HYPERPARAMETERS:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InvalidInputError(f"{_flag(name)} must not be negative, not {value}")
        if not float(self.anchors).is_integer():
            raise InvalidInputError(f"anchors must be a whole number, not {self.anchors}")
        if self.lambda_retain > 0 and self.mu == 0:
            raise InvalidInputError("mu must be positive when retained rows are used")
        if self.method is Method.REDIRECT and self.lambda_retain == 0:
            raise InvalidInputError("lambda-retain must be positive for the method redirect")
        if self.contraction == 0 and self.shift == 0:
            raise InvalidInputError("contraction and shift must not both be 0: a domain would stay")
        if self.irreversible and self.strength < 1:
            raise InvalidInputError("an edit of partial strength cannot be irreversible")

    @classmethod
    def of(
        cls,
        method: str,
        strength: float = 1.0,
        both_sides: bool = False,
        irreversible: bool = False,
        synonyms: bool = False,
        **values: Any,
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
        if chosen is not Method.REDIRECT:
            flags = {"irreversible": irreversible, "synonyms": synonyms}
            foreign = sorted(given.keys() & REDIRECT_ONLY) + [n for n, on in flags.items() if on]
            if foreign:
                raise InvalidInputError(f"{_flag(foreign[0])} is for the method redirect only")
        if float(given.get("anchors", 0.5)).is_integer():
            given["anchors"] = int(given["anchors"])
        numbers: dict[str, Any] = _DEFAULTS[chosen] | given
        return cls(
            method=chosen, strength=strength, both_sides=both_sides, irreversible=irreversible,
            synonyms=synonyms, **numbers,
        )  # fmt: skip

    @property
    def holds_retained(self) -> bool:
        """Whether retained rows take part in the fit."""
        return self.lambda_retain > 0

    @property
    def anchored(self) -> bool:
        """Whether what is forgotten goes to an anchor among the retained concepts; otherwise to zero."""
        return self.method is Method.REDIRECT

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        return asdict(self) | {"method": self.method.value}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Recipe":
        """Inverse of `to_dict`."""
        return cls(**(value | {"method": Method(value["method"])}))


_FLAGS = ("method", "strength", "both_sides", "irreversible", "synonyms")
HYPERPARAMETERS = tuple(field.name for field in fields(Recipe) if field.name not in _FLAGS)
"""Names of the numbers that `Recipe.of` takes besides method and strength."""

_SHARED = ("lambda_forget", "lambda_retain", "mu")
_POSITIVE = ("lambda_forget", "anchors", "lambda_image", "sibling_weight", "mu_image", "overshoot")

REDIRECT_ONLY = frozenset(HYPERPARAMETERS) - frozenset(_SHARED)
"""Those that only `redirect` uses."""

_DEFAULTS: dict[Method, dict[str, float]] = {
    Method.REDIRECT: {},
    Method.CCUP: {"lambda_forget": 1e3, "lambda_retain": 10.0, "mu": 0.1},
    Method.MULTIMODAL: {"lambda_forget": 1e3, "lambda_retain": 0.0, "mu": 0.0},
    Method.NULLSPACE: {"lambda_forget": 1e3, "lambda_retain": 0.0, "mu": 0.0},
}


def default_of(method: Method, name: str) -> float | None:
    """Default of a hyperparameter for a method; None where it depends on what the fit sees."""
    value: float | None = getattr(Recipe.of(method), name)
    return value


def _flag(name: str) -> str:
    return name.replace("_", "-")
