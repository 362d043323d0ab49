"""The verifier in a bundle computes certificates as the engine does, and finds those that say something else."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from governance.audit import verify_bundle as verifier
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.certificate import Prompts, certificate
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.labels import LabelSpace
from governance.unlearning.prototypes import measure_reference
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

CASES: dict[str, list[Edit]] = {
    "a class": [Edit((Target("c0", None),), Recipe())],
    "irreversible": [Edit((Target("c0", None),), Recipe(irreversible=True))],
    "synonyms": [Edit((Target("c0", None),), Recipe(synonyms=True))],
    "a class in a domain": [Edit((Target("c1", "sketch"),), Recipe())],
    "a whole domain": [Edit((Target(None, "sketch"),), Recipe())],
    "several": [
        Edit((Target("c0", None), Target("c2", None)), Recipe()),
        Edit((Target("c1", "sketch"),), Recipe(strength=0.5)),
    ],
    "nothing": [],
    "a method of the papers": [Edit((Target("c0", None),), Recipe.of("nullspace"))],
}


def bank() -> PromptBank:
    generator = torch.Generator().manual_seed(3)
    labels = LabelSpace(
        tuple(f"c{n}" for n in range(6)),
        ("sketch", "photo"),
        domain_templates={"sketch": ("a sketch of {class}",), "photo": ("a photo of the {class}",)},
        synonyms={"c0": ("zero", "nought")},
    )
    common = torch.randn(1, 24, generator=generator).double()
    rows = unit(common + torch.randn(18, 24, generator=generator).double())
    scores = unit(rows + 0.1 * torch.randn(18, 24, generator=generator).double())
    words = unit(common + torch.randn(len(labels.paraphrases), 24, generator=generator).double())
    return PromptBank(labels, rows, scores, words)


def both(
    prompts: PromptBank, edits: list[Edit], moment: torch.Tensor | None = None
) -> tuple[dict[str, Any], verifier.Certificate, Composition]:
    """What the engine says, and what the verifier computes."""
    composition = compose(prompts, edits)
    labels, projector = prompts.labels, composition.projector
    blocks = [block.to_dict() for block in composition.blocks]
    texts = prompts.scores.numpy(), prompts.paraphrases.numpy(), labels.paraphrases
    said = certificate(
        Prompts(labels.classes, labels.domains, *texts),
        blocks, projector.a.numpy(), projector.b.numpy(), None if moment is None else moment.numpy(),
    )  # fmt: skip
    read = verifier.Bank(
        labels.to_dict() | {"classes": list(labels.classes), "domains": list(labels.domains)},
        prompts.rows.tolist(), prompts.scores.tolist(), prompts.paraphrases.tolist(),
    )  # fmt: skip
    a, b = projector.a.tolist(), projector.b.tolist()
    given = None if moment is None else moment.tolist()
    return said, verifier.Certificate(read, blocks, a, b, given, "seed"), composition


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_moment", [False, True])
def test_the_verifier_computes_the_same(case: str, with_moment: bool) -> None:
    images = torch.randn(50, 24, generator=torch.Generator().manual_seed(1))
    moment = measure_reference(images, {}).moment if with_moment else None
    said, found, _ = both(bank(), CASES[case], moment)
    assert not found.sampled
    assert not found.contradicts(said)


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "worst excess": lambda c: c["forgotten"]["excess"].update(worst=0.0),
    "median excess": lambda c: c["forgotten"]["excess"].update(median=0.0),
    "distance from the anchor": lambda c: c["forgotten"]["from_anchor"].update(worst=0.0),
    "margin": lambda c: c["forgotten"]["margin"].update(worst=1.0),
    "certified": lambda c: c["forgotten"].update(certified=c["forgotten"]["certified"] + 1),
    "a class": lambda c: c["classes"]["c0"].update(excess=0.0),
    "texts": lambda c: c["forgotten"].update(texts=99),
    "change": lambda c: c["retained"]["change"].update(worst=0.0),
    "nothing forgotten": lambda c: c.update(forgotten=None),
    "nothing in a domain": lambda c: c.update(depends_on_image=False),
    "an estimate": lambda c: c.update(estimate={"excess": {"median": 0.0, "worst": 0.0}}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_certificate_that_says_something_else_is_found(lie: str) -> None:
    said, found, _ = both(bank(), CASES["several"])
    altered = copy.deepcopy(said)
    LIES[lie](altered)
    assert altered != said
    assert not found.contradicts(said)
    assert found.contradicts(altered)


def test_of_too_many_texts_a_sample_is_held_against_the_worst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifier, "WORK", 20_000)
    said, found, _ = both(bank(), CASES["several"])
    assert found.sampled
    assert len(found.change) < said["retained"]["texts"]
    assert not found.contradicts(said)
    said["retained"]["change"]["worst"] = 0.0
    assert found.contradicts(said)
