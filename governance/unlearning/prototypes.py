"""Prototypes: visual stand-ins for a (class, domain), beside its text row.

Text alone needs no image at all; synthesised prototypes need the model; few-shot prototypes need images that the
customer may use. Every kind ends as unit rows, one a (class, domain), that the fit stacks with the text rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from governance.digests import digest_json
from governance.errors import InvalidInputError
from governance.unlearning.bank import Pair, unit
from governance.unlearning.projector import digest_tensor


class PrototypeKind(StrEnum):
    """Where prototypes come from."""

    TEXT = "text"
    SYNTHESISED = "synthesised"
    FEW_SHOT = "few-shot"


@dataclass(frozen=True)
class Prototypes:
    """Visual prototypes of some (class, domain) pairs.

    Attributes:
        kind: where they come from.
        pairs: m pairs, without repetition.
        rows: m × d, float64, unit length.
        settings: JSON values that say how they were made: data set digest, shots and seed, or synthesis settings.
    """

    kind: PrototypeKind
    pairs: tuple[Pair, ...]
    rows: Tensor
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            InvalidInputError: not one finite row for each pair.
        """
        if self.rows.shape[0] != len(self.pairs) or len(set(self.pairs)) != len(self.pairs):
            raise InvalidInputError(
                f"{len(self.pairs)} pairs cannot have {self.rows.shape[0]} prototypes"
            )
        if not torch.isfinite(self.rows).all():
            raise InvalidInputError("a prototype is not finite")

    @cached_property
    def digest(self) -> str:
        """Digest of the rows."""
        return digest_tensor(self.rows)

    @cached_property
    def identity(self) -> str:
        """Digest of pairs and rows: a relabelled data set has the same rows but is another set of prototypes."""
        return digest_json({"pairs": [list(pair) for pair in self.pairs], "rows": self.digest})

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows themselves, of which it has the digest, as plain JSON values."""
        return {
            "kind": self.kind.value,
            "pairs": [list(pair) for pair in self.pairs],
            "rows": self.digest,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], rows: Tensor) -> "Prototypes":
        """Inverse of `to_dict`, given the rows."""
        pairs = tuple((label, domain) for label, domain in value["pairs"])
        return cls(PrototypeKind(value["kind"]), pairs, rows, value["settings"])


def mean_rows(features: Tensor, pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], Tensor]:
    """Unit mean of the unit features of each pair.

    Args:
        features: n × d image embeddings, any length. Norms differ by domain, so each is scaled to one first.
        pairs: the pair of each.

    Returns:
        The m distinct pairs in their order of appearance, and m × d float64 unit rows.
    """
    distinct = tuple(dict.fromkeys(pairs))
    scaled = unit(features)
    places = torch.tensor([distinct.index(pair) for pair in pairs])
    sums = scaled.new_zeros(len(distinct), scaled.shape[1]).index_add_(0, places, scaled)
    return distinct, unit(sums)
