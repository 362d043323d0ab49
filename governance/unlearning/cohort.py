"""The images of an assessment sorted into sets, and the protocol that says what is done with them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.evaluation import Samples, class_numbers, names_domains
from governance.unlearning.metrics.neighbours import nearest_retained
from governance.unlearning.projector import Projector
from governance.unlearning.targets import Target, covered


@dataclass(frozen=True)
class Protocol:
    """What is fixed before measuring.

    Attributes:
        seed: of every draw, by NumPy's default generator.
        shots: labelled images of each class in a relearning attack.
        mixes: α of the prototypical relearning attack; a nearest-prototype attack comes on top.
        scaled: α of the same attack with standardised scores.
        draws: how often each attack is mounted with other labelled images.
        neighbours: retained pairs counted as neighbours of each forgotten one.
        folds: of the cross-validated probes.
        recall: the k of recall at k.
        cap: at most so many images of the forget, of the retain and of the neighbour set in attacks, probes and drift.
    """

    seed: int = 0
    shots: tuple[int, ...] = (1, 5, 16)
    mixes: tuple[float, ...] = (0.5, 1.0)
    scaled: tuple[float, ...] = (0.5,)
    draws: int = 10
    neighbours: int = 3
    folds: int = 5
    recall: tuple[int, ...] = (1, 5, 10)
    cap: int = 2000

    def to_dict(self) -> dict[str, Any]:
        """The protocol as plain JSON values."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


@dataclass(frozen=True)
class Cohort:
    """Who is who among n images, the same for every version.

    Attributes:
        samples: the images.
        bank: the prompts.
        truth: class number of each image.
        own: bank row of each image: of its class and domain, or of its class if the images have no domains.
        forget, retain, guard: n booleans each; every image is in exactly one set.
        neighbours: retained bank rows nearest to what is forgotten, with their cosine.
        beside: n booleans, the images of the neighbours.
        kept_classes: numbers of the classes that are not forgotten everywhere.
        protocol: what is done.
        logit_scale: of the model.
    """

    samples: Samples
    bank: PromptBank
    truth: Tensor
    own: Tensor
    forget: Tensor
    retain: Tensor
    guard: Tensor
    neighbours: dict[int, float]
    beside: Tensor
    kept_classes: list[int]
    protocol: Protocol
    logit_scale: float

    @property
    def texts(self) -> Tensor:
        """The zero-shot classifier, C × d float32, unit length."""
        return self.bank.plain_scores.to(torch.float32)

    @property
    def paired(self) -> bool:
        """Whether every image has a prompt of its own class and domain."""
        return bool((self.own >= len(self.bank.labels.classes)).all())

    @property
    def synonyms(self) -> dict[str, list[str]]:
        """Synonyms of the classes that have images to forget."""
        labels = self.bank.labels
        named = [
            labels.classes[number] for number in torch.unique(self.truth[self.forget]).tolist()
        ]
        return {label: list(labels.synonyms.get(label, ())) for label in named}

    def some(self, mask: Tensor) -> Tensor:
        """Numbers of at most `cap` images of a set, seeded, ascending."""
        places: Tensor = mask.nonzero().flatten()
        if len(places) <= self.protocol.cap:
            return places
        generator = np.random.default_rng(self.protocol.seed)
        chosen = generator.permutation(places.numpy())[: self.protocol.cap]
        return torch.from_numpy(np.sort(chosen))


def gather(
    samples: Samples,
    bank: PromptBank,
    targets: Sequence[Target],
    logit_scale: float,
    protocol: Protocol,
    guard: Sequence[str] = (),
) -> Cohort:
    """Sort the images of a data set.

    Args:
        samples: the images.
        bank: the prompts.
        targets: what is to be forgotten.
        logit_scale: of the model.
        protocol: what will be done.
        guard: classes that the fit never mentioned.

    Raises:
        InvalidInputError: the data set does not fit the label space or the width of the bank.
    """
    truth = class_numbers(samples, bank)
    labels = bank.labels
    place = {pair: row for row, pair in enumerate(bank.pairs)}
    paired = names_domains(samples, bank)
    own = [
        place[label, domain if paired else None]
        for label, domain in zip(samples.labels, samples.domains, strict=True)
    ]
    forget = torch.tensor(
        [covered(targets, c, d) for c, d in zip(samples.labels, samples.domains, strict=True)]
    )
    guarded = torch.tensor([label in guard for label in samples.labels]) & ~forget
    retain = ~forget & ~guarded
    rows = torch.tensor(own)
    neighbours = nearest_retained(
        bank.rows,
        torch.unique(rows[forget]).tolist(),
        sorted(set(rows[~forget].tolist()) - set(rows[forget].tolist())),
        protocol.neighbours,
    )
    beside = torch.isin(rows, torch.tensor(list(neighbours), dtype=torch.int64)) & ~forget
    places: tuple[str | None, ...] = labels.domains or (None,)
    kept = [
        number
        for number, label in enumerate(labels.classes)
        if not all(covered(targets, label, domain) for domain in places)
    ]
    return Cohort(
        samples, bank, truth, rows, forget, retain, guarded, neighbours, beside, kept, protocol,
        logit_scale,
    )  # fmt: skip


def view_features(samples: Samples, projector: Projector) -> Tensor:
    """Unit image features of a version, n × d float32."""
    edited = projector.apply(samples.features.to(torch.float32))
    return torch.nn.functional.normalize(edited, dim=1)
