"""What becomes of forgotten rows, and which retained texts take their place."""

import pytest
import torch

from governance.unlearning import anchors
from governance.unlearning.anchors import (
    Fate,
    class_directions,
    domain_mean,
    fates,
    nearest_retained,
    sink_class,
)
from governance.unlearning.bank import Pair, PromptBank
from governance.unlearning.labels import LabelSpace
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target, covered

RECIPE = Recipe()


def owners(bank: PromptBank, *targets: Target) -> dict[int, Recipe]:
    return {row: RECIPE for row, pair in enumerate(bank.pairs) if covered(targets, *pair)}


def rows_of(bank: PromptBank, *pairs: Pair) -> list[int]:
    return [bank.pairs.index(pair) for pair in pairs]


def found(bank: PromptBank, *targets: Target) -> dict[Pair, Fate]:
    return {bank.pairs[row]: fate for row, fate in fates(bank, owners(bank, *targets)).items()}


def test_a_class_everywhere_in_one_domain_and_with_its_domain(bank: PromptBank) -> None:
    everywhere = found(bank, Target("dog", None))
    assert everywhere == {("dog", d): Fate.EVERYWHERE for d in (None, "photo", "cartoon", "sketch")}
    assert found(bank, Target("dog", "sketch")) == {("dog", "sketch"): Fate.IN_ITS_DOMAIN}
    whole = found(bank, Target(None, "sketch"))
    assert whole == {(c, "sketch"): Fate.WITH_ITS_DOMAIN for c in bank.labels.classes}


def test_fates_follow_from_what_is_still_retained_not_from_the_request(bank: PromptBank) -> None:
    one_by_one = found(bank, *(Target(c, "sketch") for c in bank.labels.classes))
    assert set(one_by_one.values()) == {Fate.WITH_ITS_DOMAIN}
    *most, last = bank.labels.classes
    assert set(found(bank, *(Target(c, "sketch") for c in most)).values()) == {Fate.IN_ITS_DOMAIN}
    # Forgotten in every domain but not without one, the class is still retained.
    in_each = found(bank, *(Target("dog", d) for d in bank.labels.domains))
    assert set(in_each.values()) == {Fate.IN_ITS_DOMAIN}
    both = found(bank, Target("dog", None), Target(None, "sketch"))
    assert both["cat", "sketch"] == Fate.WITH_ITS_DOMAIN
    assert both["dog", "sketch"] == both["dog", "photo"] == Fate.EVERYWHERE
    assert found(bank) == {}
    assert last == "guitar"


def crowd(*rows: list[float], domains: tuple[str, ...] = ()) -> PromptBank:
    """Unit rows in the plane, one class each in every domain."""
    tensor = torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64))
    classes = tuple("abcdefgh"[: len(rows) // (1 + len(domains))])
    templates = dict.fromkeys(domains, ("a {class}",))
    return PromptBank(LabelSpace(classes, domains, domain_templates=templates), tensor, tensor)


def test_nearest_retained_by_hand() -> None:
    """Four directions at 0°, 10°, 40° and 170°."""
    degrees = torch.tensor([0.0, 10.0, 40.0, 170.0], dtype=torch.float64).deg2rad()
    bank = crowd(*torch.stack([degrees.cos(), degrees.sin()], dim=1).tolist())
    assert nearest_retained(bank, [1], [1], 2) == {1: [0, 2]}
    assert nearest_retained(bank, [1], [1], 20) == {1: [0, 2, 3]}  # as far as there are so many
    assert nearest_retained(bank, [0, 1], [0, 1], 1) == {0: [2], 1: [2]}  # never the forgotten
    assert nearest_retained(bank, [], [], 2) == {}


def test_anchors_are_retained_texts_of_the_same_domain_nearest_first(bank: PromptBank) -> None:
    lost = rows_of(bank, *(("dog", d) for d in (None, *bank.labels.domains)))
    forgotten = [*lost, *rows_of(bank, ("cat", "sketch"))]
    for row, near in nearest_retained(bank, lost, forgotten, 3).items():
        assert {bank.pairs[n][1] for n in near} == {bank.pairs[row][1]}
        assert not set(near) & set(forgotten)
        cosines = bank.rows[near] @ bank.rows[row]
        assert cosines.tolist() == sorted(cosines.tolist(), reverse=True)
        others = [
            n
            for n, pair in enumerate(bank.pairs)
            if pair[1] == bank.pairs[row][1] and n not in forgotten and n not in near
        ]
        assert not others or float((bank.rows[others] @ bank.rows[row]).max()) <= cosines.min()


def test_equally_near_texts_are_taken_in_the_order_of_the_bank() -> None:
    bank = crowd([1, 0], [0.6, 0.8], [0.6, -0.8], [0.6, 0.8])
    assert nearest_retained(bank, [0], [0], 2) == {0: [1, 2]}


def test_where_a_domain_retains_nothing_texts_of_another_request_stand_in(
    bank: PromptBank,
) -> None:
    whole = rows_of(bank, *((c, "sketch") for c in bank.labels.classes))
    dog = rows_of(bank, ("dog", None), ("dog", "sketch"))
    near = nearest_retained(bank, dog, [*dog, *whole], 20)
    assert sorted(near[dog[0]]) == [1, 2, 3, 4]
    assert sorted(near[dog[1]]) == [row for row in whole if row != dog[1]]
    everything = list(range(len(bank.pairs)))
    assert nearest_retained(bank, everything, everything, 20) == {n: [n] for n in everything}


def test_the_mean_of_a_domain_is_of_what_is_retained_there(bank: PromptBank) -> None:
    sketch = rows_of(bank, *((c, "sketch") for c in bank.labels.classes))
    torch.testing.assert_close(
        domain_mean(bank, [sketch[0]], "sketch"), bank.rows[sketch[1:]].mean(dim=0)
    )
    # Nothing retained: of the classes that are retained elsewhere, else of all.
    gone = [*sketch, *rows_of(bank, *(("dog", d) for d in (None, "photo", "cartoon")))]
    torch.testing.assert_close(domain_mean(bank, gone, "sketch"), bank.rows[sketch[1:]].mean(dim=0))
    torch.testing.assert_close(
        domain_mean(bank, range(20), "sketch"), bank.rows[sketch].mean(dim=0)
    )
    torch.testing.assert_close(domain_mean(bank, [0], None), bank.rows[1:5].mean(dim=0))


def test_the_sink_is_the_candidate_with_the_shortest_direction(bank: PromptBank) -> None:
    order = class_directions(bank).norm(dim=1).argsort().tolist()
    for gone in range(5):
        assert sink_class(bank, order[gone:]) == order[gone]
        assert sink_class(bank, sorted(order[gone:])) == order[gone]
    assert sink_class(bank, []) is None


def test_class_directions_by_hand() -> None:
    """Orthonormal rows, ridge 1: (I + I)⁻¹ times the sum of ±½ the rows."""
    e = torch.eye(5, dtype=torch.float64)
    labels = LabelSpace(("dog", "cat"), ("sketch",), domain_templates={"sketch": ("a {class}",)})
    rows = e[:4]
    expected = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0], dtype=torch.float64) / 4
    directions = class_directions(PromptBank(labels, rows, rows))
    torch.testing.assert_close(directions, torch.stack([expected, -expected]))


def test_class_directions_are_the_dual_basis_when_the_ridge_is_small(
    bank: PromptBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    indicators = (torch.eye(5, dtype=torch.float64) - 0.2).repeat(4, 1)
    damped = bank.rows @ class_directions(bank).T
    monkeypatch.setattr(anchors, "DUAL_RIDGE", 1e-9)
    exact = bank.rows @ class_directions(bank).T
    torch.testing.assert_close(exact, indicators, atol=1e-6, rtol=0)
    assert (damped - indicators).abs().max() > 0.01  # the ridge does something
    own = torch.arange(5).repeat(4)
    assert torch.equal(damped.argmax(dim=1), own)  # and not too much
