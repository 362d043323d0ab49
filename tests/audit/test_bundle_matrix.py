"""The stand-alone verifier's arithmetic agrees with the engine's, whatever the requests, and sees what does not."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from governance.audit import verify_bundle as verifier
from governance.unlearning.bank import PromptBank, build_bank
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.labels import LabelSpace, default_domain_templates
from governance.unlearning.prototypes import (
    PrototypeKind,
    Prototypes,
    prototypes_of,
    reference_of,
)
from governance.unlearning.projector import digest_tensor
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow.build import problem_of
from governance.workflow.measure import Member

DOMAINS = ("sketch", "photo")


def bank_of(classes: int = 5, dimension: int = 24, domains: Sequence[str] = DOMAINS) -> PromptBank:
    """A bank whose rows are a class, a domain and some noise; classes 0 and 1 have synonyms."""
    labels = LabelSpace(
        tuple(f"class {n}" for n in range(classes)),
        tuple(domains),
        domain_templates={domain: default_domain_templates(domain) for domain in domains},
        synonyms={"class 0": ("kind zero",), "class 1": ("kind one", "sort one")},
    )
    generator = torch.Generator().manual_seed(1)

    def rows(*shape: int) -> Tensor:
        return torch.randn(*shape, dimension, generator=generator, dtype=torch.float64)

    named, common = rows(classes), rows()
    words = {f"class {n}": n for n in range(classes)} | {"kind zero": 0, "kind one": 1, "sort one": 1}
    places = {domain: row for domain, row in zip(domains, rows(len(domains)), strict=True)}

    def encode(prompts: Sequence[str]) -> Tensor:
        # A longer name first: "class 1" is part of "class 12".
        found = [max((w for w in words if w in prompt), key=len) for prompt in prompts]
        said = [next((places[d] for d in domains if d in prompt), 0 * common) for prompt in prompts]
        return (
            torch.stack([named[words[word]] for word in found]) + 2 * common + torch.stack(said)
            + 0.5 * rows(len(prompts))
        )  # fmt: skip

    return build_bank(labels, encode)


def images_of(bank: PromptBank, pairs: Sequence[tuple[str, str | None]], seed: int = 0) -> Tensor:
    """Image features that resemble the texts of their pairs, beside a gap."""
    generator = torch.Generator().manual_seed(seed)
    gap = torch.ones(bank.dimension, dtype=torch.float64) / bank.dimension**0.5
    noise = torch.randn(len(pairs), bank.dimension, generator=generator, dtype=torch.float64)
    return bank.rows[[bank.pairs.index(pair) for pair in pairs]] + gap + 0.1 * noise


def few_shot(bank: PromptBank, *pairs: tuple[str, str | None], shots: int = 3) -> Prototypes:
    """Few-shot prototypes of these pairs."""
    many = [pair for pair in pairs for _ in range(shots)]
    features = images_of(bank, many, len(pairs))
    return prototypes_of(PrototypeKind.FEW_SHOT, features, many, {"shots": shots})


class Loose(verifier.Arrays):
    """Arrays that come from memory."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._rows = {digest_tensor(t): (t if t.ndim > 1 else t[None]).tolist() for t in tensors}

    def rows(self, name: str) -> list[list[float]]:
        return self._rows[name]


Posed = list[tuple[str, verifier.Solution, dict[str, Any]]]


def posed(bank: PromptBank, edits: Sequence[Edit], composed: Composition) -> Posed:
    """The verifier's view of a composition: for each tower the factors and what the recipe says of them."""
    members = [Member(n + 1, 1, "", 1.0, edit, 1) for n, edit in enumerate(edits)]
    stated = problem_of(composed, members)
    arrays = Loose([tensor for edit in edits for tensor in edit.arrays])
    mine = [verifier.Edit(n + 1, edit.to_dict(), arrays) for n, edit in enumerate(edits)]
    known = verifier.Bank(
        verifier.parse(verifier.canonical(bank.labels.to_dict() | {"classes": list(bank.labels.classes)}).encode())
        if False
        else _plain(bank.labels.to_dict()),
        bank.rows.tolist(),
        bank.scores.tolist(),
        bank.paraphrases.tolist(),
    )
    factors = {"image": (composed.projector.a.tolist(), composed.projector.b.tolist())}
    if composed.text is not None:
        factors["text"] = (composed.text.a.tolist(), composed.text.b.tolist())
    return [
        (side, solution, stated[side])
        for side, solution in verifier.sides_2(known, mine, factors, "seed")
    ]


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


R = Recipe.of
BANK = bank_of()
ONE = Target("class 1", None)
TWO = Target("class 2", None)
IN_SKETCH = Target("class 2", "sketch")
SKETCH = Target(None, "sketch")
PHOTOS = [(f"class {n}", "photo") for n in range(5)]
SKETCHES = [(f"class {n}", "sketch") for n in range(5)]
SHOTS = few_shot(BANK, *PHOTOS, *SKETCHES)
REFERENCE = reference_of(images_of(BANK, PHOTOS + SKETCHES, 9), {"name": "stream"})

CASES: dict[str, list[Edit]] = {
    "a class": [Edit((ONE,), R("redirect"))],
    "a class in a domain": [Edit((IN_SKETCH,), R("redirect"))],
    "a domain": [Edit((SKETCH,), R("redirect"))],
    "all three": [
        Edit((ONE,), R("redirect", anchors=2)),
        Edit((IN_SKETCH,), R("redirect", 0.7, lambda_retain=2.0, sibling_weight=3.0)),
        Edit((SKETCH,), R("redirect", contraction=0.2, mu_image=2.0)),
    ],
    "all three from images": [
        Edit((ONE,), R("redirect")),
        Edit((IN_SKETCH,), R("redirect", scatter=10.0), (SHOTS,)),
        Edit((Target(None, "photo"),), R("redirect"), (few_shot(BANK, *PHOTOS, shots=2),)),
    ],
    "some images": [
        Edit((IN_SKETCH,), R("redirect"), (few_shot(BANK, ("class 2", "sketch"), PHOTOS[0]),)),
        Edit((Target("class 3", "photo"),), R("redirect"), (few_shot(BANK, PHOTOS[1], shots=1),)),
    ],
    "with a reference": [
        Edit((IN_SKETCH, Target("class 3", "photo")), R("redirect"), (SHOTS,), REFERENCE),
        Edit((ONE,), R("redirect"), (), reference_of(images_of(BANK, PHOTOS), {})),
    ],
    "overlapping": [
        Edit((IN_SKETCH, ONE), R("redirect", 0.5)),
        Edit((TWO,), R("ccup")),
    ],
    "several classes": [
        Edit((ONE,), R("redirect", lambda_forget=9.0)),
        Edit((TWO, Target("class 0", None)), R("redirect", 0.4)),
    ],
    "synonyms": [
        Edit((ONE,), R("redirect", synonyms=True)),
        Edit((Target("class 0", None), TWO), R("redirect")),
    ],
    "irreversible": [Edit((ONE,), R("redirect", irreversible=True))],
    "irreversible with others": [
        Edit((ONE,), R("redirect", irreversible=True, synonyms=True)),
        Edit((TWO,), R("redirect", 0.5)),
        Edit((Target("class 3", "sketch"),), R("redirect")),
        Edit((Target("class 4", "photo"),), R("nullspace")),
    ],
    "partial": [Edit((ONE, IN_SKETCH), R("redirect", 0.3)), Edit((SKETCH,), R("redirect", 0.2))],
    "nullspace": [Edit((ONE,), R("nullspace"))],
    "nullspace of many": [
        Edit((ONE,), R("nullspace", 0.6)),
        Edit((IN_SKETCH,), R("nullspace")),
    ],
    "nullspace with mu": [Edit((ONE,), R("nullspace", mu=0.1))],
    "ccup": [Edit((ONE,), R("ccup"))],
    "everything mixed": [
        Edit((ONE,), R("nullspace")),
        Edit((Target("class 0", "photo"),), R("ccup")),
        Edit((TWO,), R("redirect")),
        Edit((Target("class 3", "sketch"),), R("redirect")),
    ],
    "both sides": [
        Edit((ONE,), R("redirect", both_sides=True)),
        Edit((IN_SKETCH,), R("nullspace", both_sides=True)),
        Edit((Target("class 3", None),), R("redirect")),
    ],
    "both sides of a domain": [Edit((SKETCH,), R("redirect", 0.5, both_sides=True))],
    "multimodal": [
        Edit((ONE,), R("redirect"), (few_shot(BANK, ("class 1", "photo"), ("class 0", "photo")),)),
        Edit((IN_SKETCH,), R("multimodal"), (few_shot(BANK, ("class 2", "sketch")),)),
    ],
}
