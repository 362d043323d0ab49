"""The prompt bank: unit text embeddings of every (class, domain) of a label space.

Composing and evaluating versions needs only the bank, neither the model nor its tokenizer.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from governance.errors import IntegrityError
from governance.unlearning.labels import LabelSpace, fill
from governance.unlearning.projector import Projector

Pair = tuple[str, str | None]
"""A (class, domain); domain None stands for the row that names no domain."""


@dataclass(frozen=True)
class PromptBank:
    """Rows to fit with, rows to score with, and other words to test an edit with.

    Attributes:
        labels: the label space.
        rows: (1 + domains) · classes × d, float64, unit length; the mean of the unit embeddings of
            a pair's templates. Ordered by `pairs`.
        scores: the same shape, one prompt each: the score template, then the first template of each domain.
        paraphrases: one row for each of `LabelSpace.paraphrases`, float64, unit length, never used in a fit. No
            row at all in a bank that nobody evaluates with.
    """

    labels: LabelSpace
    rows: Tensor
    scores: Tensor
    paraphrases: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            IntegrityError: the tensors do not have one row for each pair.
        """
        count = len(self.pairs)
        if self.rows.shape[0] != count or self.rows.shape != self.scores.shape:
            raise IntegrityError(
                f"the prompt bank has {tuple(self.rows.shape)} and {tuple(self.scores.shape)} "
                f"rows for {count} pairs"
            )
        expected = (len(self.labels.paraphrases), self.dimension)
        if len(self.paraphrases) and tuple(self.paraphrases.shape) != expected:
            raise IntegrityError(
                f"the prompt bank has {tuple(self.paraphrases.shape)} paraphrases instead of {expected}"
            )

    @cached_property
    def pairs(self) -> list[Pair]:
        """The (class, domain) of each row: first without a domain, then domain by domain."""
        # Kept, because loops over rows ask for it; made anew each time it was most of the cost of composing.
        domains: tuple[str | None, ...] = (None, *self.labels.domains)
        return [(label, domain) for domain in domains for label in self.labels.classes]

    @property
    def dimension(self) -> int:
        """d, the width of the joint embedding."""
        return int(self.rows.shape[1])

    def edited(self, text: Projector | None) -> "PromptBank":
        """The bank as a model says it whose text tower is edited: other scores and paraphrases, the same rows."""
        if text is None:
            return self
        scores, paraphrases = unit(text.apply(self.scores)), self.paraphrases
        if len(paraphrases):
            paraphrases = unit(text.apply(paraphrases))
        return replace(self, scores=scores, paraphrases=paraphrases)

    def without_synonyms(self, classes: Collection[str]) -> "PromptBank":
        """The bank without the synonyms of some classes: those that a fit used are no test of it."""
        if not len(self.paraphrases) or not set(classes) & self.labels.synonyms.keys():
            return self
        dropped = {c: set(w) for c, w in self.labels.synonyms.items() if c in classes}
        template = self.labels.score_template
        kept = [
            number
            for number, (label, prompt) in enumerate(self.labels.paraphrases)
            if prompt not in {fill(template, word) for word in dropped.get(label, ())}
        ]
        synonyms = {c: w for c, w in self.labels.synonyms.items() if c not in classes}
        labels = replace(self.labels, synonyms=synonyms)
        return replace(self, labels=labels, paraphrases=self.paraphrases[kept])

    @property
    def plain_scores(self) -> Tensor:
        """Classes × d: the zero-shot classifier that names no domain."""
        return self.scores[: len(self.labels.classes)]

    @property
    def domain_scores(self) -> Tensor:
        """Domains · classes × d: the classifier over every (class, domain), domain by domain."""
        return self.scores[len(self.labels.classes) :]


def unit(rows: Tensor) -> Tensor:
    """Rows scaled to length one, float64; a zero row stays zero."""
    return torch.nn.functional.normalize(rows.to(torch.float64), dim=-1)


def build_bank(labels: LabelSpace, encode_text: Callable[[Sequence[str]], Tensor]) -> PromptBank:
    """Embed a label space.

    Args:
        labels: the label space.
        encode_text: n prompts → n × d embeddings, any float dtype, any length.
    """
    prompts: list[str] = []
    spans: list[tuple[int, int]] = []
    scored: list[str] = []
    for domain in (None, *labels.domains):
        templates = labels.templates if domain is None else labels.domain_templates[domain]
        score = labels.score_template if domain is None else templates[0]
        for label in labels.classes:
            spans.append((len(prompts), len(prompts) + len(templates)))
            prompts.extend(fill(template, label) for template in templates)
            scored.append(fill(score, label))
    reworded = [prompt for _, prompt in labels.paraphrases]
    embeddings = unit(encode_text([*prompts, *scored, *reworded]))
    fitted, scores, paraphrases = torch.split(
        embeddings, [len(prompts), len(scored), len(reworded)]
    )
    rows = torch.stack([fitted[start:stop].mean(dim=0) for start, stop in spans])
    return PromptBank(labels, unit(rows), scores, paraphrases)
