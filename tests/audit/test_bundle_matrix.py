"""The stand-alone verifier's arithmetic agrees with the engine's, whatever the requests, and sees what does not."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from governance.audit import verify_bundle as verifier
from governance.digests import canonical_json, load_json
from governance.errors import InvalidInputError
from governance.unlearning.bank import PromptBank, build_bank
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.labels import LabelSpace, default_domain_templates
from governance.unlearning.projector import digest_tensor
from governance.unlearning.prototypes import (
    PrototypeKind,
    Prototypes,
    measure_reference,
    prototypes_of,
)
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow.measure import problem_of

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
    words = {f"class {n}": n for n in range(classes)} | {
        "kind zero": 0,
        "kind one": 1,
        "sort one": 1,
    }
    places = dict(zip(domains, rows(len(domains)), strict=True))

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
    stated = problem_of(composed, [(n + 1, edit) for n, edit in enumerate(edits)])
    arrays = Loose([tensor for edit in edits for tensor in edit.arrays])
    mine = [verifier.Edit(n + 1, edit.to_dict(), arrays) for n, edit in enumerate(edits)]
    known = verifier.Bank(
        load_json(canonical_json(bank.labels.to_dict())),
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


R = Recipe.of
BANK = bank_of()
ONE = Target("class 1", None)
TWO = Target("class 2", None)
IN_SKETCH = Target("class 2", "sketch")
SKETCH = Target(None, "sketch")
PHOTOS = [(f"class {n}", "photo") for n in range(5)]
SKETCHES = [(f"class {n}", "sketch") for n in range(5)]
SHOTS = few_shot(BANK, *PHOTOS, *SKETCHES)
REFERENCE = measure_reference(images_of(BANK, PHOTOS + SKETCHES, 9), {"name": "stream"})

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
        Edit((ONE,), R("redirect"), (), measure_reference(images_of(BANK, PHOTOS), {})),
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
    "a domain more strongly than a class": [
        Edit((ONE,), R("redirect", 0.5)),
        Edit((SKETCH,), R("redirect")),
    ],
    "a pair more strongly than its class": [
        Edit((ONE, TWO), R("redirect", 0.5)),
        Edit((IN_SKETCH,), R("redirect"), (SHOTS,)),
        Edit((Target("class 3", None),), R("nullspace", 0.5)),
        Edit((Target("class 3", "photo"),), R("redirect")),
    ],
    "a class in a domain that goes": [
        Edit((IN_SKETCH,), R("redirect", 0.8)),
        Edit((SKETCH,), R("redirect", 0.9), (few_shot(BANK, *SKETCHES),), REFERENCE),
        Edit((Target("class 0", "photo"),), R("ccup")),
    ],
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


@pytest.mark.parametrize("name", CASES)
def test_the_engine_and_the_verifier_agree(name: str) -> None:
    edits = CASES[name]
    composed = compose(BANK, edits)
    left = dict.fromkeys(range(1, len(edits) + 1), 0.0)
    for _, solution, stated in posed(BANK, edits, composed):
        assert list(solution.check(stated)) == []
        assert solution.unchecked == []
        for edit in solution.edits:
            left[edit.request] = max(left[edit.request], solution.residual(edit) or 0.0)
    for number, value in left.items():
        assert value == pytest.approx(composed.residual(edits[number - 1]), abs=1e-8)


@pytest.mark.parametrize("seed", range(30))
def test_they_agree_on_requests_drawn_at_random(seed: int) -> None:
    draw = random.Random(seed)
    edits = [an_edit(draw) for _ in range(draw.randint(1, 4))]
    try:
        composed = compose(BANK, edits)
    except InvalidInputError:  # nothing would be retained
        edits = edits[:1]
        composed = compose(BANK, edits)
    for _, solution, stated in posed(BANK, edits, composed):
        assert list(solution.check(stated)) == []


def an_edit(draw: random.Random) -> Edit:
    """A request with a recipe and prototypes of any kind."""
    names = [f"class {n}" for n in range(2)] + ["class 3"]
    targets = [Target(draw.choice(names), draw.choice([None, *DOMAINS])) for _ in range(2)]
    if draw.random() < 0.3:
        targets[0] = Target(None, draw.choice(DOMAINS))
    strength = draw.choice([1.0, 1.0, 0.5])
    method = draw.choice(["redirect", "redirect", "redirect", "ccup", "nullspace"])
    chosen = {"both_sides": draw.random() < 0.2}
    if method == "redirect":
        chosen["irreversible"] = strength == 1 and draw.random() < 0.2
        chosen["synonyms"] = all(t.label == "class 1" for t in targets) and draw.random() < 0.5
    images = draw.choice([(), (), (SHOTS,), (few_shot(BANK, *SKETCHES[:3], shots=1),)])
    return Edit(
        tuple(dict.fromkeys(targets)), R(method, strength, **chosen), images, draw.choice([None, REFERENCE])
    )  # fmt: skip


def test_the_cases_have_blocks_of_every_kind() -> None:
    """Otherwise the others would show less than they say."""
    blocks = [block for edits in CASES.values() for block in compose(BANK, edits).blocks]
    assert {block.side for block in blocks} == {"rows", "images", "texts"}
    assert any(block.synonym for block in blocks)
    assert any(block.source for block in blocks)
    assert {type(s) for e in CASES.values() for s in sides_of(e)} == {
        verifier.RowSide,
        verifier.ImageSide,
        verifier.TextSide,
    }


def sides_of(edits: Sequence[Edit]) -> list[verifier.Side]:
    return [
        side
        for _, solution, _ in posed(BANK, edits, compose(BANK, edits))
        for side in solution._sides
        if side.blocks
    ]


def scaled(vector: list[float], factor: float) -> list[float]:
    return [factor * value for value in vector]


def swapped_scale(solution: verifier.Solution) -> None:
    """P stays as it is, but the block is not what it should be."""
    solution.columns[0] = scaled(solution.columns[0], 2.0)
    solution.lines[0] = scaled(solution.lines[0], 0.5)


def foreign_block(solution: verifier.Solution) -> None:
    solution.columns.append(scaled(solution.columns[0], 0.1))
    solution.lines.append(solution.lines[-1])


def hidden_block(solution: verifier.Solution) -> None:
    """In the columns of a block another edit is hidden."""
    solution.lines[-1] = [
        value + 1e-4 * other for value, other in zip(solution.lines[-1], BANK.rows[2].tolist(), strict=True)
    ]  # fmt: skip


def missing_block(solution: verifier.Solution) -> None:
    solution.columns.pop()
    solution.lines.pop()


def perturbed(solution: verifier.Solution, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    line = torch.tensor(solution.lines[number], dtype=torch.float64)
    noise = torch.randn(len(line), generator=generator, dtype=torch.float64)
    solution.lines[number] = (line + 1e-3 * line.norm() * noise / noise.norm()).tolist()


TAMPERED: dict[str, Callable[[verifier.Solution], None]] = {
    "a foreign block": foreign_block,
    "a foreign edit in a block": hidden_block,
    "a block missing": missing_block,
    "another b": lambda s: perturbed(s, 0),
    "another b at the end": lambda s: perturbed(s, len(s.lines) - 1),
    "a b that is doubled": lambda s: s.lines.__setitem__(0, scaled(s.lines[0], 2.0)),
    "an a that is doubled": lambda s: s.columns.__setitem__(0, scaled(s.columns[0], 2.0)),
    "an a that is zero": lambda s: s.columns.__setitem__(-1, scaled(s.columns[-1], 0.0)),
    "a and b scaled": swapped_scale,
    "another a": lambda s: s.columns[0].__setitem__(3, s.columns[0][3] + 1e-3),
}


@pytest.mark.parametrize("how", TAMPERED)
@pytest.mark.parametrize("name", CASES)
def test_a_changed_factor_is_found(name: str, how: str) -> None:
    edits = CASES[name]
    for _, solution, stated in posed(BANK, edits, compose(BANK, edits)):
        TAMPERED[how](solution)
        assert len(list(solution.check(stated))) == 1
        assert solution.residual(solution.edits[0]) is None


@pytest.mark.parametrize("name", CASES)
def test_every_perturbed_row_of_b_is_found(name: str) -> None:
    edits = CASES[name]
    composed = compose(BANK, edits)
    for number in range(composed.projector.b.shape[0]):
        _, solution, stated = posed(BANK, edits, composed)[0]
        perturbed(solution, number)
        assert list(solution.check(stated))


def test_a_request_more_or_less_is_found() -> None:
    for name in ("both sides", "all three from images", "irreversible with others"):
        edits = CASES[name]
        composed = compose(BANK, edits)
        for number in range(len(edits)):
            others = [edit for n, edit in enumerate(edits) if n != number]
            (_, solution, _), *_ = posed(BANK, others, compose(BANK, others))
            (_, more, stated), *_ = posed(BANK, edits, composed)
            solution.columns, solution.lines = more.columns, more.lines
            assert list(solution.check(stated)), (name, number)


def lie(name: str, honest: Sequence[Edit], said: Sequence[Edit]) -> str:
    """What is found if `honest` was solved, but `said` was approved."""
    composed = compose(BANK, honest)
    (_, solution, stated), *_ = posed(BANK, said, composed)
    found = list(solution.check(stated))
    assert len(found) == 1, name
    return found[0]


RECIPES: list[tuple[str, dict[str, Any]]] = [
    ("a class", {"lambda_forget": 2.6}),
    ("a class", {"forget_room": 0.5}),
    ("a class", {"lambda_retain": 1.1}),
    ("a class", {"mu": 0.019}),
    ("a class", {"mu_room": 0.002}),
    ("a class", {"anchors": 3}),
    ("a class", {"strength": 0.9}),
    ("a class", {"irreversible": True}),
    ("a class", {"synonyms": True}),
    ("irreversible", {"irreversible": False}),
    ("irreversible", {"mu": 0.019}),
    ("a class in a domain", {"lambda_image": 11.0}),
    ("a class in a domain", {"sibling_weight": 4.0}),
    ("a class in a domain", {"mu_image": 7.0}),
    ("a class in a domain", {"mu": 0.019}),
    ("a class in a domain", {"overshoot": 2.0}),
    ("a class in a domain", {"strength": 0.9}),
    ("a domain", {"contraction": 0.6}),
    ("a domain", {"shift": 0.9}),
    ("all three from images", {"scatter": 301.0}),
    ("ccup", {"lambda_forget": 900.0}),
    ("ccup", {"lambda_retain": 11.0}),
    ("ccup", {"mu": 0.2}),
    ("nullspace", {"strength": 0.9}),
    ("nullspace with mu", {"mu": 0.2}),
]


@pytest.mark.parametrize(("name", "change"), RECIPES)
def test_other_numbers_than_those_approved_are_found(name: str, change: dict[str, Any]) -> None:
    said = CASES[name]
    lie(name, [replace(edit, recipe=replace(edit.recipe, **change)) for edit in said], said)


def test_another_method_is_found() -> None:
    said = CASES["a class"]
    for recipe in (R("ccup"), R("nullspace")):
        assert "lists other blocks" in lie("method", [replace(said[0], recipe=recipe)], said)


def test_other_prototypes_than_those_approved_are_found() -> None:
    said = CASES["some images"]
    pairs = said[0].prototypes[0].pairs
    other = replace(few_shot(BANK, *pairs), rows=few_shot(BANK, *pairs[::-1]).rows)
    exchanged = [replace(said[0], prototypes=(other,)), said[1]]
    assert "lists other blocks" in lie("identity", exchanged, said)
    assert lie("none", [replace(edit, prototypes=()) for edit in said], said)
    assert other.scatter is not None
    scattered = replace(said[0].prototypes[0], scatter=1.01 * other.scatter)
    assert "does not solve" in lie(
        "scatter", [replace(said[0], prototypes=(scattered,)), said[1]], said
    )


def test_rows_other_than_those_of_the_digest_are_found() -> None:
    """The blocks name the approved prototypes, but others were solved with."""
    edits = CASES["some images"]
    composed = compose(BANK, edits)
    (_, solution, stated), *_ = posed(BANK, edits, composed)
    shots = edits[0].prototypes[0]
    other = replace(shots, rows=shots.rows.flip(0))
    lied = compose(BANK, [replace(edits[0], prototypes=(other,)), edits[1]])
    (_, bad, _), *_ = posed(BANK, edits, lied)
    solution.columns, solution.lines = bad.columns, bad.lines
    assert list(solution.check(stated))


def test_another_reference_is_found() -> None:
    said = CASES["with a reference"]
    none = [replace(edit, reference=None) for edit in said]
    assert lie("none", none, said)
    other = measure_reference(images_of(BANK, SKETCHES, 4), {})
    assert lie("other", [replace(edit, reference=other) for edit in said], said)


def test_a_plain_prompt_stands_for_a_domain_only_without_images() -> None:
    """A domain whose prompts name no domain: its text rows are left out where there are images."""
    rows = BANK.rows.clone()
    rows[5:10] = rows[:5]
    bank = replace(BANK, rows=rows)
    for edits, sources in (
        ([Edit((IN_SKETCH,), R("redirect"))], [False]),
        ([Edit((IN_SKETCH,), R("redirect"), (few_shot(bank, *SKETCHES),))], [True]),
        ([Edit((Target("class 2", "photo"),), R("redirect"), (SHOTS,))], [False, True]),
    ):
        composed = compose(bank, edits)
        assert [block.source is not None for block in composed.blocks] == sources
        (_, solution, stated), *_ = posed(bank, edits, composed)
        assert list(solution.check(stated)) == []
        assert solution.residual(solution.edits[0]) == pytest.approx(composed.residual(edits[0]))


def anchored(change: Callable[[list[int]], list[int]]) -> list[str]:
    edits = [Edit((ONE,), R("redirect", anchors=2))]
    (_, solution, stated), *_ = posed(BANK, edits, compose(BANK, edits))
    blocks = [{**block} for block in stated["blocks"]]
    blocks[0]["anchor"] = change(blocks[0]["anchor"])
    return list(solution.check({"blocks": blocks}))


@pytest.mark.parametrize(
    "change",
    [
        lambda anchor: anchor[:1],
        lambda anchor: anchor[::-1],
        lambda anchor: [anchor[0], anchor[0]],
        lambda anchor: [anchor[0], next(n for n in range(5) if n not in (1, *anchor))],
        lambda anchor: [anchor[0], 1],
        lambda anchor: [anchor[0], 6],
        lambda anchor: [],
    ],
)
def test_another_anchor_is_found(change: Callable[[list[int]], list[int]]) -> None:
    (problem,) = anchored(change)
    assert "has another anchor than the nearest retained texts" in problem


def test_an_anchor_that_was_not_used_is_found() -> None:
    """The recipe says the right one, but the columns lead elsewhere."""
    edits = [Edit((ONE,), R("redirect", anchors=2))]
    composed = compose(BANK, edits)
    (_, solution, stated), *_ = posed(BANK, edits, composed)
    far = BANK.rows[[0, 4]].mean(dim=0) - BANK.rows[1]
    assert composed.blocks[0].anchor != (0, 4)
    solution.columns[0] = far.tolist()
    assert "is not the way to its anchor" in next(solution.check(stated))


def test_anchors_that_are_equally_near_may_stand_in_any_order() -> None:
    rows = BANK.rows.clone()
    rows[3] = rows[2]
    bank = replace(BANK, rows=rows)
    edits = [Edit((ONE,), R("redirect"))]
    (_, solution, stated), *_ = posed(bank, edits, compose(bank, edits))
    blocks = [{**block} for block in stated["blocks"]]
    blocks[0]["anchor"] = [{2: 3, 3: 2}.get(n, n) for n in blocks[0]["anchor"]]
    assert blocks[0]["anchor"] != stated["blocks"][0]["anchor"]
    assert list(solution.check({"blocks": blocks})) == []


@pytest.mark.parametrize(
    "change",
    [
        {"requests": [1]}, {"requests": [1, 2]}, {"class": "class 1"}, {"domain": "photo"}, {"side": "rows"},
        {"prototypes": "sha256:0"}, {"synonym": "a photo"}, {"more": 1},
    ],
)  # fmt: skip
def test_a_block_that_is_said_to_be_another_is_found(change: dict[str, Any]) -> None:
    edits = CASES["several classes"]
    (_, solution, stated), *_ = posed(BANK, edits, compose(BANK, edits))
    blocks = [{**stated["blocks"][0], **change}, *stated["blocks"][1:]]
    assert "lists other blocks" in next(solution.check({"blocks": blocks}))
    listed = stated["blocks"]
    for wrong in (listed[1:], listed[:-1], [*listed, listed[0]], []):
        assert "lists other blocks" in next(solution.check({"blocks": wrong}))


def test_a_request_without_a_block_is_found() -> None:
    """Nothing in the label space is what it names."""
    edits = [Edit((ONE,), R("redirect")), Edit((Target("class 9", None),), R("redirect"))]
    (_, solution, stated), *_ = posed(BANK, edits, compose(BANK, edits[:1]))
    assert list(solution.check(stated)) == ["request 2 has no block in it"]


def test_nearly_parallel_rows_are_still_told_apart() -> None:
    """Prompts of a class that name domains differ by next to nothing; more of them than dimensions, too."""
    rows = BANK.rows.clone()
    rows[5:10] = rows[:5] + 1e-9 * rows[5:10]
    rows[10:] = rows[:5]
    bank = replace(BANK, rows=torch.nn.functional.normalize(rows))
    lost = tuple(Target(f"class {n}", None) for n in (1, 2, 3))
    narrow = bank_of(9, 12)
    for known, targets, recipe in (
        (bank, lost, R("redirect", irreversible=True)),
        (bank, lost, R("redirect", irreversible=True, mu=1e-6, mu_room=0.0)),
        (bank, lost, R("redirect", mu=1e-6, mu_room=0.0)),
        (bank, lost, R("redirect")),
        (bank, (SKETCH,), R("redirect", mu=1e-6, mu_image=1e-6)),
        (bank, (IN_SKETCH,), R("redirect")),
        (narrow, tuple(Target(f"class {n}", None) for n in range(6)), R("redirect")),
        (narrow, lost, R("redirect", lambda_forget=1e7)),
    ):
        edits = [Edit(targets, recipe)]
        composed = compose(known, edits)
        for number in range(-1, len(composed.blocks)):
            (_, solution, stated), *_ = posed(known, edits, composed)
            if number >= 0:
                if max(map(abs, solution.lines[number])) < 1e-3:
                    continue
                perturbed(solution, number)
            assert bool(list(solution.check(stated))) == (number >= 0), (recipe, number)


def test_a_sample_is_checked_of_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = tuple(Target(f"class {n}", None) for n in range(10))
    bank = bank_of(16, 24)
    edits = [
        Edit((*lost, Target(None, "photo")), R("redirect")),
        Edit((Target("class 12", None),), R("nullspace")),
    ]
    composed = compose(bank, edits)
    (_, solution, stated), *_ = posed(bank, edits, composed)
    work, fixed = (sum(getattr(s, name) for s in solution._sides) for name in ("work", "fixed"))
    monkeypatch.setattr(verifier, "WORK", (work + fixed) // 2)
    assert list(solution.check(stated)) == []
    assert [line.split(",")[0] for line in solution.unchecked] == [
        "15 of 31 blocks of texts",
        "how much of each request is left undone",
    ]
    assert solution.residual(solution.edits[0]) is None
    found = 0
    for number in range(len(solution.lines)):
        (_, solution, stated), *_ = posed(bank, edits, composed)
        perturbed(solution, number)
        found += bool(list(solution.check(stated)))
    assert found > len(solution.lines) / 2
    monkeypatch.setattr(verifier, "WORK", 1)
    (_, solution, stated), *_ = posed(bank, edits, composed)
    assert list(solution.check(stated)) == []
    assert "5 of 5 blocks of images" in solution.unchecked[0]


def test_the_sample_depends_on_the_factors() -> None:
    edits = CASES["a domain"]
    (_, solution, _), *_ = posed(BANK, edits, compose(BANK, edits))
    other = verifier.Solution(solution._forgotten, [], ([], []), "another seed")
    samples = [s._sample(0, 1000, 0.1) for s in (solution, other)]
    assert [len(sample) for sample in samples] == [100, 100]
    assert samples[0] != samples[1]
    assert solution._sample(5, 10, 0.0) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_large_version_takes_seconds() -> None:
    """60 forgotten texts of width 512 among 260, and a domain, in plain Python."""
    bank = bank_of(52, 512, ("sketch", "photo", "art", "cartoon"))
    edits = [Edit((Target(f"class {n}", None),), R("redirect")) for n in range(12)]
    edits.append(Edit((SKETCH,), R("redirect")))
    composed = compose(bank, edits)
    assert composed.projector.b.shape == (100, 512)
    (_, solution, stated), *_ = posed(bank, edits, composed)
    start = time.perf_counter()
    assert list(solution.check(stated)) == []
    assert solution.unchecked == []
    assert solution.residual(solution.edits[0]) == pytest.approx(composed.residual(edits[0]))
    assert time.perf_counter() - start < 40
