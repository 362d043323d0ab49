import pytest
import torch

from bench.data import Benchmark, read_benchmark
from bench.scoring import FIGURES, Scorer, figures_of, means, scorer_of, sets_of
from governance.unlearning.evaluation import Predictions, Samples
from governance.unlearning.projector import identity
from governance.unlearning.targets import Target

SAMPLES = Samples(
    torch.zeros(6, 2),
    ["cat", "cat", "cat", "dog", "dog", "emu"],
    ["ink", "ink", "oil", "ink", "oil", "oil"],
)
HITS = torch.tensor([True, False, True, True, False, True])
PAIR_HITS = torch.tensor([False, False, True, True, True, True])


def test_figures_of_a_class_in_one_domain_by_hand() -> None:
    found = figures_of(sets_of(SAMPLES, Target("cat", "ink")), Predictions(HITS, PAIR_HITS))
    assert tuple(found) == FIGURES
    # forget: images 0 and 1; retained: 2 to 5; elsewhere: 2; worst retained class: dog, one of two.
    assert list(found.values()) == [0.5, 0.75, 0.0, 1.0, 1.0, 0.5]


def test_a_whole_domain_has_no_elsewhere() -> None:
    found = figures_of(sets_of(SAMPLES, Target(None, "oil")), Predictions(HITS, None))
    assert found["forget 7"] == pytest.approx(2 / 3)
    assert found["retain 7"] == pytest.approx(2 / 3)
    assert found["worst class"] == 0.5
    assert found["elsewhere"] is None
    assert found["forget 28"] is None


def test_means_leave_out_what_is_missing() -> None:
    assert means([{"a": 1.0, "b": None}, {"a": 0.0, "b": 0.5}, {"a": 0.5, "b": None}]) == {
        "a": 0.5,
        "b": 0.5,
    }
    assert means([{"a": None}]) == {"a": None}


@pytest.fixture
def benchmark_scorer(small_benchmark) -> tuple[Benchmark, Scorer]:  # type: ignore[no-untyped-def]
    benchmark = read_benchmark(small_benchmark)
    return benchmark, scorer_of(benchmark)


def test_a_projector_and_the_same_edit_as_a_map_score_alike(
    benchmark_scorer: tuple[Benchmark, Scorer],
) -> None:
    benchmark, scorer = benchmark_scorer
    target = Target("dog", None)
    base = scorer.base([target])
    assert scorer.score(target, identity(benchmark.bank.dimension)) == base
    assert scorer.score(target, lambda features: features) == base
    assert scorer.score(target, lambda features: -features) != base
