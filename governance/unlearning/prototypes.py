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
        scatter: d × d, float64, second moment of the unit images around the means of their pairs; None for one image a
            pair.
    """

    kind: PrototypeKind
    pairs: tuple[Pair, ...]
    rows: Tensor
    settings: Mapping[str, Any]
    scatter: Tensor | None = None

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            InvalidInputError: not one finite row for each pair.
        """
        if self.rows.shape[0] != len(self.pairs) or len(set(self.pairs)) != len(self.pairs):
            raise InvalidInputError(
                f"{len(self.pairs)} pairs cannot have {self.rows.shape[0]} prototypes"
            )
        if not all(torch.isfinite(part).all() for part in self.arrays):
            raise InvalidInputError("a prototype is not finite")

    @cached_property
    def digest(self) -> str:
        """Digest of the rows."""
        return digest_tensor(self.rows)

    @cached_property
    def identity(self) -> str:
        """Digest of pairs and rows: a relabelled data set has the same rows but is another set of prototypes."""
        return digest_json({"pairs": [list(pair) for pair in self.pairs], "rows": self.digest})

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """Every tensor of it."""
        return (self.rows,) if self.scatter is None else (self.rows, self.scatter)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the tensors themselves, of which it has the digests, as plain JSON values."""
        scatter = {} if self.scatter is None else {"scatter": digest_tensor(self.scatter)}
        return {
            "kind": self.kind.value,
            "pairs": [list(pair) for pair in self.pairs],
            "rows": self.digest,
            **scatter,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> "Prototypes":
        """Inverse of `to_dict`, given the tensors by their digests."""
        pairs = tuple((label, domain) for label, domain in value["pairs"])
        scatter = arrays[value["scatter"]] if "scatter" in value else None
        return cls(
            PrototypeKind(value["kind"]), pairs, arrays[value["rows"]], value["settings"], scatter
        )


@dataclass(frozen=True)
class Reference:
    """What a fit uses of unlabelled images: their mean and second moment, of unit rows.

    Attributes:
        mean: d, float64.
        moment: d × d, float64, the mean of zᵀz.
        settings: JSON values that say which images they are: name and digest of the data set.
    """

    mean: Tensor
    moment: Tensor
    settings: Mapping[str, Any]

    @cached_property
    def identity(self) -> str:
        """Digest of both tensors."""
        return digest_json([digest_tensor(self.mean), digest_tensor(self.moment)])

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """Both tensors."""
        return self.mean, self.moment

    def to_dict(self) -> dict[str, Any]:
        """The digests of both tensors, as plain JSON values."""
        return {
            "mean": digest_tensor(self.mean),
            "moment": digest_tensor(self.moment),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> "Reference":
        """Inverse of `to_dict`, given the tensors by their digests."""
        return cls(arrays[value["mean"]], arrays[value["moment"]], value["settings"])


def measure_reference(features: Tensor, settings: Mapping[str, Any]) -> Reference:
    """Mean and second moment of n × d image embeddings, each scaled to one first."""
    rows = unit(features)
    return Reference(rows.mean(dim=0), rows.T @ rows / len(rows), settings)


def scatter_of(features: Tensor, pairs: Sequence[Pair]) -> Tensor | None:
    """Second moment of unit features around the mean of their pair, d × d float64; None if each stands alone.

    Args:
        features: n × d image embeddings, any length.
        pairs: the pair of each.
    """
    distinct, places, scaled, sums = _sums(features, pairs)
    if len(distinct) == len(pairs):
        return None
    counts = torch.bincount(places, minlength=len(distinct)).unsqueeze(1)
    around = scaled - (sums / counts)[places]
    return around.T @ around / len(around)


def _sums(
    features: Tensor, pairs: Sequence[Pair]
) -> tuple[tuple[Pair, ...], Tensor, Tensor, Tensor]:
    """The distinct pairs, the number of each image's pair among them, the unit images, and their sum by pair."""
    distinct = tuple(dict.fromkeys(pairs))
    number = {pair: place for place, pair in enumerate(distinct)}
    places, scaled = torch.tensor([number[pair] for pair in pairs]), unit(features)
    sums = scaled.new_zeros(len(distinct), scaled.shape[1]).index_add_(0, places, scaled)
    return distinct, places, scaled, sums


def mean_rows(features: Tensor, pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], Tensor]:
    """Unit mean of the unit features of each pair.

    Args:
        features: n × d image embeddings, any length. Norms differ by domain, so each is scaled to one first.
        pairs: the pair of each.

    Returns:
        The m distinct pairs in their order of appearance, and m × d float64 unit rows.
    """
    distinct, _, _, sums = _sums(features, pairs)
    return distinct, unit(sums)


def prototypes_of(
    kind: PrototypeKind, features: Tensor, pairs: Sequence[Pair], settings: Mapping[str, Any]
) -> Prototypes:
    """Prototypes from images: the unit mean of each pair, and the scatter around the means.

    Args:
        kind: where the images come from.
        features: n × d image embeddings, any length.
        pairs: the pair of each.
        settings: JSON values that say how they were made.
    """
    distinct, rows = mean_rows(features, pairs)
    return Prototypes(kind, distinct, rows, settings, scatter_of(features, pairs))
