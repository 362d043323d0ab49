"""The baselines do what their name says; a weak baseline would flatter ours."""

from pathlib import Path

import pytest
import torch

from bench.baselines import gradient_ascent, leace, lipschitz, oracle
from bench.data import Benchmark, read_benchmark
from bench.scoring import Scorer, scorer_of
from governance.unlearning.bank import unit
from governance.unlearning.metrics.inference import probe
from governance.unlearning.targets import Target

TARGET = Target("dog", None)


@pytest.fixture(scope="module")
def benchmark(small_benchmark: Path) -> Benchmark:
    read = read_benchmark(small_benchmark)
    return Benchmark(**(vars(read) | {"synthesised": read.shots}))


@pytest.fixture(scope="module")
def scorer(benchmark: Benchmark) -> Scorer:
    return scorer_of(benchmark)


def test_leace_hides_the_concept_from_a_linear_probe_of_the_fitted_rows(
    benchmark: Benchmark,
) -> None:
    rows = unit(benchmark.shots.features)
    positive = torch.tensor([label == "dog" for label, _ in benchmark.shots.pairs])
    before = probe(rows, positive, 4, 0)
    assert before is not None
    assert before.value > 0.9
    erased = leace(benchmark.shots, TARGET)(benchmark.shots.features)
    # LEACE's theorem: the class means become one.
    gap = erased[positive].mean(dim=0) - erased[~positive].mean(dim=0)
    assert float(gap.norm()) < 0.1 * float(
        (rows[positive].mean(dim=0) - rows[~positive].mean(dim=0)).norm()
    )


def test_leace_of_several_targets_hides_each(benchmark: Benchmark) -> None:
    names = ("dog", "horse")
    erased = leace(benchmark.shots, *(Target(name, None) for name in names))(
        benchmark.shots.features
    )
    rows = unit(benchmark.shots.features)
    for name in names:
        own = torch.tensor([label == name for label, _ in benchmark.shots.pairs])
        before, after = (r[own].mean(dim=0) - r[~own].mean(dim=0) for r in (rows, erased))
        assert float(after.norm()) < 0.1 * float(before.norm())


@pytest.mark.parametrize("fit", [gradient_ascent, oracle])
def test_trained_maps_forget_and_keep(benchmark: Benchmark, scorer: Scorer, fit) -> None:  # type: ignore[no-untyped-def]
    base, found = scorer.base([TARGET]), scorer.score(TARGET, fit(benchmark, TARGET, 150))
    assert base["forget 7"] > 0.8
    assert found["forget 7"] < 0.2 * base["forget 7"]
    assert found["retain 7"] > base["retain 7"] - 0.05


def test_the_oracle_keeps_more_than_gradient_ascent_since_it_sees_the_answers(
    benchmark: Benchmark, scorer: Scorer
) -> None:
    target = Target(None, "sketch")
    seen, blind = (
        scorer.score(target, fit(benchmark, target, 150)) for fit in (oracle, gradient_ascent)
    )
    assert seen["retain 7"] >= blind["retain 7"]
    assert seen["forget 7"] <= blind["forget 7"]


def test_lipschitz_training_flattens_scores_around_what_is_forgotten(benchmark: Benchmark) -> None:
    rows = unit(
        benchmark.shots.features[[label == "dog" for label, _ in benchmark.shots.pairs]]
    ).float()
    texts = benchmark.bank.plain_scores.float()
    noise = 0.5 * torch.nn.functional.normalize(
        torch.randn(rows.shape, generator=torch.Generator().manual_seed(1)), dim=1
    )

    def change(projector) -> float:  # type: ignore[no-untyped-def]
        sides = [
            torch.nn.functional.normalize(projector.apply(x), dim=1) @ texts.T
            for x in (rows, rows + noise)
        ]
        return float((sides[0] - sides[1]).norm(dim=1).mean())

    assert change(lipschitz(benchmark, TARGET, 150)) < 0.8 * change(lipschitz(benchmark, TARGET, 0))
