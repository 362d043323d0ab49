from pathlib import Path

import pytest
import torch

from bench.ablations import DEFAULT, Variant, all_variants, fit
from bench.data import SCOPES, Benchmark, read_benchmark, targets_of
from bench.variants import hold_covariance, move_to_zero, problem, sink_class
from governance.unlearning.composition import Edit, compose
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

KINDS = (PrototypeKind.TEXT, PrototypeKind.FEW_SHOT)


@pytest.fixture(scope="module")
def benchmark(small_benchmark: Path) -> Benchmark:
    return read_benchmark(small_benchmark)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", SCOPES)
def test_the_stated_problem_is_the_one_that_the_package_solves(
    benchmark: Benchmark, scope: str, kind: PrototypeKind
) -> None:
    for target in list(targets_of(scope, benchmark.bank.labels))[:3]:
        for recipe in (DEFAULT, Recipe(strength=0.5, margin=0.3, sibling_weight=3.0)):
            prototypes = benchmark.prototypes(kind, target)
            ours = problem(benchmark.bank, target, recipe, prototypes).solve().dense()
            theirs = compose(benchmark.bank, [Edit((target,), recipe, prototypes)]).projector
            assert torch.allclose(ours, theirs.dense(), atol=1e-9)


def test_every_variant_differs_from_the_default_somewhere(benchmark: Benchmark) -> None:
    variants = list(all_variants(benchmark))
    assert len({variant.name for variant in variants}) == len(variants)
    same = [v.name for v in variants if not _differs(benchmark, v)]
    # The default itself, and the sink that it would choose anyway; no row is endangered in so easy a problem.
    assert "default" in same
    assert len([name for name in same if name.startswith("sink")]) == 1
    assert {name for name in same if not name.startswith("sink")} <= {
        "default",
        "margin 0",
        "margin 0.3",
    }


def _differs(benchmark: Benchmark, variant: Variant) -> bool:
    targets = {SCOPES[0]: Target("dog", None), SCOPES[1]: Target("dog", "sketch")}
    targets[SCOPES[2]] = Target(None, "sketch")
    for scope in variant.scopes:
        for kind in variant.kinds:
            target = targets[scope]
            plain = fit(benchmark, Variant("default"), kind, target).solve().dense()
            if not torch.allclose(
                fit(benchmark, variant, kind, target).solve().dense(), plain, atol=1e-6
            ):
                return True
    return False


def test_a_heavy_covariance_holds_the_scatter_of_the_retained_images(benchmark: Benchmark) -> None:
    stated = problem(benchmark.bank, Target("dog", None), DEFAULT, ())
    changed = hold_covariance(benchmark, 1e4)(stated)
    extra = changed.retain[len(stated.retain) :]
    assert len(extra) == 6 * 4 * 4  # six retained classes, four domains, four images
    assert float(changed.held[len(stated.retain) :].sum()) == pytest.approx(1e4)
    drift = [float((p.apply(extra) - extra).norm()) for p in (stated.solve(), changed.solve())]
    assert drift[1] < 0.5 * drift[0]


def test_zero_anchor_and_sink_change_the_goals_only(benchmark: Benchmark) -> None:
    stated = problem(benchmark.bank, Target(None, "sketch"), DEFAULT, ())
    assert not move_to_zero(stated).goals.any()
    for number in range(7):
        changed = sink_class(number)(stated)
        assert torch.equal(changed.forget, stated.forget)
        assert torch.equal(changed.held, stated.held)
        same = torch.allclose(changed.goals, stated.goals)
        assert same == (number == _cheapest(benchmark))


def _cheapest(benchmark: Benchmark) -> int:
    from governance.unlearning.anchors import class_directions

    return int(torch.linalg.vector_norm(class_directions(benchmark.bank), dim=1).argmin())
