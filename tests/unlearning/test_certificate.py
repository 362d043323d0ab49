"""The certificate: what it bounds for every image there could be, and what it says it does not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.certificate import Prompts, certificate, forgotten_texts, retained_rows
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.labels import LabelSpace
from governance.unlearning.prototypes import measure_reference
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from tests.unlearning.spaces import Space, spaces

FEW = settings(max_examples=30, deadline=None)
DIGITS = 1e-6
"""Figures are rounded."""

RECIPES = st.sampled_from(
    [Recipe(), Recipe(anchors=2), Recipe(strength=0.5), Recipe(irreversible=True)]
)


def prompts_of(bank: PromptBank) -> Prompts:
    labels = bank.labels
    return Prompts(
        labels.classes,
        labels.domains,
        bank.scores.numpy(),
        bank.paraphrases.numpy(),
        labels.paraphrases,
    )


def certify(bank: PromptBank, composition: Composition, moment: Tensor | None = None) -> Any:
    return certificate(
        prompts_of(bank),
        [block.to_dict() for block in composition.blocks],
        composition.projector.a.numpy(),
        composition.projector.b.numpy(),
        None if moment is None else moment.numpy(),
    )


def classified(space: Space) -> PromptBank:
    """Prompts that classify, a little away from the texts of the fit."""
    generator = torch.Generator().manual_seed(space.seed + 2)
    away = torch.randn(space.bank.rows.shape, generator=generator, dtype=torch.float64)
    return replace(space.bank, scores=unit(space.bank.rows + 0.1 * unit(away)))


@FEW
@given(spaces(), RECIPES)
def test_no_image_exceeds_what_is_certified(space: Space, recipe: Recipe) -> None:
    """Of the prompts that classify, which are not the texts of the fit."""
    bank = classified(space)
    composition = compose(bank, [Edit(space.targets, recipe)])
    found = certify(bank, composition)
    before = space.images(200)
    after = composition.projector.apply(before)
    for block in composition.blocks:
        f = bank.scores[bank.pairs.index(block.pair)]
        g = bank.scores[list(block.anchor)].mean(dim=0)
        lead = float((after @ (f - g)).max())
        assert lead <= found["classes"][block.pair[0]]["excess"] + DIGITS
        assert lead <= found["forgotten"]["excess"]["worst"] + DIGITS
        over = float((after @ f - before @ g).max())
        assert over <= found["forgotten"]["from_anchor"]["worst"] + DIGITS
    kept = bank.scores[space.kept]
    change = float(((after - before) @ kept.T).abs().max())
    assert change <= found["retained"]["change"]["worst"] + DIGITS
    assert found["forgotten"]["texts"] == len(space.lost)
    assert found["retained"]["texts"] == len(space.kept)
    assert not found["depends_on_image"]


@FEW
@given(spaces(("roomy", "cone", "crowded")), RECIPES)
def test_the_bounds_are_reached_by_some_image(space: Space, recipe: Recipe) -> None:
    bank = classified(space)
    composition = compose(bank, [Edit(space.targets, recipe)])
    found, P = certify(bank, composition), composition.projector.dense()
    leads = []
    for block in composition.blocks:
        gap = bank.scores[bank.pairs.index(block.pair)] - bank.scores[list(block.anchor)].mean(0)
        z = unit(gap @ P.T)
        leads.append(float(z @ P @ gap))
    assert max(leads) == pytest.approx(found["forgotten"]["excess"]["worst"], abs=DIGITS)
    assert np.median(leads) == pytest.approx(found["forgotten"]["excess"]["median"], abs=DIGITS)


@FEW
@given(spaces(("roomy", "square", "cone", "copied domain")))
def test_an_irreversible_edit_is_certified_as_a_whole(space: Space) -> None:
    """Where the prompts that classify are those of the fit."""
    composition = compose(space.bank, [Edit(space.targets, Recipe(irreversible=True))])
    found = certify(space.bank, composition)
    assert found["forgotten"]["excess"]["worst"] <= 1e-5
    assert all(each["margin"] >= -DIGITS for each in found["classes"].values())


@FEW
@given(spaces())
def test_the_estimate_is_the_root_mean_square_over_the_images_of_the_moment(space: Space) -> None:
    images = space.images(40)
    reference = measure_reference(images, {})
    composition = compose(space.bank, [Edit(space.targets, Recipe())])
    found = certify(space.bank, composition, reference.moment)
    after = composition.projector.apply(images)
    excess = []
    for block in composition.blocks:
        f = space.bank.scores[space.bank.pairs.index(block.pair)]
        excess.append(after @ (f - space.bank.scores[list(block.anchor)].mean(dim=0)))
    root = torch.stack(excess).square().mean(dim=1).sqrt()
    assert float(root.max()) == pytest.approx(found["estimate"]["excess"]["worst"], abs=2e-6)
    change = (after - images) @ space.bank.scores[space.kept].T
    root = change.square().mean(dim=0).sqrt()
    assert float(root.max()) == pytest.approx(found["estimate"]["change"]["worst"], abs=2e-6)
    for name, bound in (
        ("excess", found["forgotten"]["excess"]),
        ("change", found["retained"]["change"]),
    ):
        assert found["estimate"][name]["worst"] <= bound["worst"] + DIGITS


def test_by_hand() -> None:
    """Three axes and one text between two of them; the edit that takes it to its anchor, and half of it."""
    e = np.eye(3)
    prompts = Prompts(("one", "two", "odd"), (), np.array([e[0], e[1], [0.6, 0.0, 0.8]]), e[:0], ())
    block = {
        "side": "texts", "class": "odd", "domain": None, "prototypes": None, "synonym": None,
        "anchor": [0, 1],
    }  # fmt: skip
    # Its anchor is (.5, .5, 0), so the way to it (.1, −.5, .8). Nothing is done: the whole way is the excess.
    still = certificate(prompts, [block], np.zeros((3, 0)), np.zeros((0, 3)))
    way = round((0.01 + 0.25 + 0.64) ** 0.5, 6)
    assert still["forgotten"]["excess"] == {"median": way, "worst": way}
    # For an image like "odd" itself, "one" leads the anchor by (1 − .5) · .6 = .3.
    assert still["classes"] == {"odd": {"excess": way, "margin": 0.3}}
    assert still["forgotten"]["certified"] == 0
    assert still["retained"] == {"texts": 2, "change": {"median": 0.0, "worst": 0.0}}
    assert still["estimate"] is None
    # P̃ = I − n nᵀ / |n|² for n the way: exactly nothing is left, and the axes change by their shares of it.
    n = np.array([[0.1, -0.5, 0.8]])
    exact = certificate(prompts, [block], -n.T / 0.9, n)
    assert exact["forgotten"]["excess"]["worst"] == 0
    assert exact["forgotten"]["certified"] == 1
    assert exact["retained"]["change"]["worst"] == round(0.5 / 0.9**0.5, 6)


def test_what_depends_on_the_image_is_outside(bank: PromptBank) -> None:
    pair = certify(bank, compose(bank, [Edit((Target("dog", "sketch"),), Recipe())]))
    assert pair["forgotten"] is None
    assert pair["classes"] == {}
    assert pair["depends_on_image"]
    assert pair["retained"]["texts"] == 4 * 4  # no prompt of dogs
    nothing = certify(bank, compose(bank, []))
    assert not nothing["depends_on_image"]
    assert nothing["retained"] == {"texts": 20, "change": {"median": 0.0, "worst": 0.0}}
    domain = certify(bank, compose(bank, [Edit((Target(None, "sketch"),), Recipe())]))
    assert domain["retained"] is None  # it touches every class
    zero = certify(bank, compose(bank, [Edit((Target("dog", None),), Recipe.of("nullspace"))]))
    assert zero["depends_on_image"]
    assert zero["forgotten"] is None


def test_both_parts_of_a_mixed_edit(bank: PromptBank) -> None:
    edits = [Edit((Target("dog", None),), Recipe()), Edit((Target("cat", "photo"),), Recipe())]
    composition = compose(bank, edits)
    found = certify(bank, composition)
    assert found["depends_on_image"]
    assert set(found["classes"]) == {"dog"}
    assert found["forgotten"]["texts"] == 4
    blocks = [block.to_dict() for block in composition.blocks]
    assert retained_rows(prompts_of(bank), blocks) == [n for n in range(20) if n % 5 >= 2]


def test_synonyms_that_moved_are_among_the_texts() -> None:
    labels = LabelSpace(("dog", "cat", "house"), synonyms={"dog": ("hound",)})
    generator = torch.Generator().manual_seed(0)
    rows = unit(torch.randn(3 + len(labels.paraphrases), 12, generator=generator).double())
    bank = PromptBank(labels, rows[:3], rows[:3], rows[3:])
    composition = compose(bank, [Edit((Target("dog", None),), Recipe(synonyms=True))])
    found = forgotten_texts(prompts_of(bank), [block.to_dict() for block in composition.blocks])
    assert list(found.labels) == ["dog", "dog"]
    np.testing.assert_array_equal(found.texts, rows[[0, 3]].numpy())
    assert certify(bank, composition)["forgotten"]["texts"] == 2


def test_the_rival_is_the_nearest_retained_prompt_of_the_same_domain(bank: PromptBank) -> None:
    composition = compose(bank, [Edit((Target("dog", None),), Recipe())])
    found = forgotten_texts(prompts_of(bank), [block.to_dict() for block in composition.blocks])
    for block, text, rival in zip(composition.blocks, found.texts, found.rivals, strict=True):
        start = bank.pairs.index(block.pair)
        near = bank.scores[start + 1 : start + 5]
        best = near[int((near @ torch.from_numpy(text)).argmax())]
        np.testing.assert_array_equal(rival, best.numpy())
