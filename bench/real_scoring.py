"""What an edit does to one data set of genuine CLIP embeddings."""

import torch
from torch import Tensor

from bench.real_data import RealData
from bench.scoring import Figures, Map
from governance.unlearning.bank import unit
from governance.unlearning.metrics.inversion import invert
from governance.unlearning.projector import Projector

PIECE = 512
"""Images whose neighbours are looked for at once: n cosines each."""
TINY = 1e-12
"""Length of an image that an edit leaves nothing of."""


class RealScorer:
    """Scores edits on one data set, keeping what does not depend on the edit."""

    def __init__(self, data: RealData, generic: Tensor) -> None:
        """Keep the logits and neighbours of the unedited images.

        Args:
            data: a data set with classes.
            generic: g × d, float64, unit length: the images whose turning is measured.
        """
        labels = data.labels
        self._image, self._label, self._generic = data.image, labels.label, generic
        self._text, self._other = labels.text, labels.other_text
        self._logits = self._image @ self._text.T
        self._right = self._logits.argmax(dim=1) == self._label
        everyone = torch.ones(len(self._image), dtype=torch.bool)
        self._near = neighbours_agree(self._image, self._label, everyone)

    def score(
        self,
        forget: Tensor,
        elsewhere: Tensor | None,
        edit: Projector | Map | None,
        inverted: bool = False,
    ) -> Figures:
        """Zero-shot accuracy, nearest neighbours and turning.

        Args:
            forget: which images are to be forgotten, n booleans; the others are retained.
            elsewhere: images of the forgotten class in the other domains, n booleans; None where that says nothing.
            edit: None for the unedited model.
            inverted: restore the forgotten images by inverting the edit.
        """
        moved, logits = self._edited(edit)
        right, retain = logits.argmax(dim=1) == self._label, ~forget
        return {
            "forget_before": _share(self._right, forget),
            "forget_after": _share(right, forget),
            "retain_before": _share(self._right, retain),
            "retain_after": _share(right, retain),
            "elsewhere_before": _share(self._right, elsewhere),
            "elsewhere_after": _share(right, elsewhere),
            "alt_forget_before": self._reworded(self._image, forget),
            "alt_forget_after": self._reworded(moved, forget),
            "cosine": self._turned(edit),
            "neighbour_before": _share(self._near, retain),
            "neighbour_after": self._neighbours(moved, retain, edit),
            **self._inverted(forget, edit if inverted and isinstance(edit, Projector) else None),
        }

    def _inverted(self, forget: Tensor, edit: Projector | None) -> Figures:
        """Share of the forgotten images that somebody with the factors gets back, without and with other images."""
        names = ("inverted_plain", "inverted_informed", "smallest_singular_value")
        if edit is None:
            return dict.fromkeys(names)
        moment = self._generic.T @ self._generic / len(self._generic)
        found = invert(self._image[forget], edit, moment)
        truth = self._label[forget]
        shares = [
            float(((rows @ self._text.T).argmax(dim=1) == truth).double().mean())
            for rows in (found.plain, found.informed)
        ]
        return dict(zip(names, (*shares, found.smallest[0]), strict=True))

    def _edited(self, edit: Projector | Map | None) -> tuple[Tensor, Tensor]:
        """Images after the edit, n × d of any length, and their logits, n × C."""
        if edit is None:
            return self._image, self._logits
        if isinstance(edit, Projector):
            response = self._image @ edit.a
            moved = self._image + response @ edit.b
            return moved, self._logits + response @ (edit.b @ self._text.T)
        moved = edit(self._image)
        return moved, moved @ self._text.T

    def _reworded(self, features: Tensor, mask: Tensor) -> float | None:
        """Accuracy of some images among the other phrasings of all classes."""
        if self._other is None or not mask.any():
            return None
        right = (features[mask] @ self._other.T).argmax(dim=1) == self._label[mask]
        return float(right.double().mean())

    def _turned(self, edit: Projector | Map | None) -> float:
        """Mean cosine between an image before and after."""
        if edit is None:
            return 1.0
        moved = edit.apply(self._generic) if isinstance(edit, Projector) else edit(self._generic)
        lengths = torch.linalg.vector_norm(moved, dim=1).clamp_min(TINY)
        return float(((moved * self._generic).sum(dim=1) / lengths).mean())

    def _neighbours(
        self, moved: Tensor, retain: Tensor, edit: Projector | Map | None
    ) -> float | None:
        if edit is None:
            return _share(self._near, retain)
        hits = neighbours_agree(moved, self._label, retain)
        return float(hits.double().mean()) if len(hits) else None


def neighbours_agree(features: Tensor, label: Tensor, asked: Tensor) -> Tensor:
    """Whether the nearest other image has the same label.

    Args:
        features: n × d, any length; all of them are the gallery.
        label: class number of each.
        asked: for which of them, n booleans.

    Returns:
        One boolean for each image asked for.
    """
    rows = unit(features).float()
    found = []
    for places in torch.split(asked.nonzero().flatten(), PIECE):
        cosines = rows[places] @ rows.T
        cosines[torch.arange(len(places)), places] = -torch.inf
        found.append(label[cosines.argmax(dim=1)] == label[places])
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)


def _share(hits: Tensor, mask: Tensor | None) -> float | None:
    if mask is None or not mask.any():
        return None
    return float(hits[mask].double().mean())
