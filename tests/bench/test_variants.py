from pathlib import Path

import pytest
import torch

from bench.ablations import COUNTS, DEFAULT, VARIANTS, Variant, crowd
from bench.data import SCOPES, Benchmark, read_benchmark
from bench.output import Settings
from bench.real_data import largest, read_all
from bench.variants import image_side
from governance.errors import NotFoundError
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from tests.bench.real_files import arrays, without, write

TARGETS = dict(
    zip(SCOPES, (Target("dog", None), Target("dog", "sketch"), Target(None, "sketch")), strict=True)
)


@pytest.fixture(scope="module")
def benchmark(small_benchmark: Path) -> Benchmark:
    return read_benchmark(small_benchmark)


def edit_of(
    benchmark: Benchmark, variant: Variant, scope: str, kind: PrototypeKind
) -> torch.Tensor:
    target = TARGETS[scope]
    prototypes = benchmark.prototypes(kind, target)
    return variant.solve(benchmark.bank, [target], prototypes).dense()


def test_names_are_distinct_and_the_default_comes_first() -> None:
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    assert VARIANTS[0].recipe == DEFAULT == Recipe()


@pytest.mark.parametrize("variant", VARIANTS[1:], ids=lambda variant: str(variant.name))
def test_every_variant_differs_from_the_default_wherever_it_is_shown(
    benchmark: Benchmark, variant: Variant
) -> None:
    for scope in () if variant.crowded else variant.scopes:
        for kind in variant.kinds:
            theirs = edit_of(benchmark, VARIANTS[0], scope, kind)
            ours = edit_of(benchmark, variant, scope, kind)
            assert not torch.allclose(ours, theirs, atol=1e-6), (scope, kind)


def test_what_takes_more_classes_differs_among_more_classes(benchmark: Benchmark) -> None:
    crowded = [variant for variant in VARIANTS if variant.crowded]
    assert len(crowded) == 6
    for variant in crowded:
        assert variant.scopes == (SCOPES[0],)
        assert variant.fit is not None or variant.recipe.anchors != DEFAULT.anchors


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", [PrototypeKind.TEXT, PrototypeKind.FEW_SHOT])
def test_the_image_side_is_the_row_fit_towards_the_mean_of_the_retained(
    benchmark: Benchmark, scope: str, kind: PrototypeKind
) -> None:
    bank, target = benchmark.bank, TARGETS[scope]
    prototypes = benchmark.prototypes(kind, target)
    pairs = [*bank.pairs, *(pair for p in prototypes for pair in p.pairs)]
    rows = torch.cat([bank.rows, *(p.rows for p in prototypes)])
    lost = torch.tensor([target.covers(*pair) for pair in pairs])
    goals = []
    for pair in (pair for pair in pairs if target.covers(*pair)):
        same = [n for n, other in enumerate(bank.pairs) if other[1] == pair[1]]
        kept = [n for n in same if not target.covers(*bank.pairs[n])] or same
        goals.append(bank.rows[kept].mean(dim=0))
    F, R, G = rows[lost], rows[~lost], torch.stack(goals)
    held = 10 * R.T @ R + 0.1 * torch.eye(bank.dimension, dtype=torch.float64)
    expected = torch.linalg.solve(1e3 * F.T @ F + held, 1e3 * F.T @ G + held)
    found = image_side(bank, [target], prototypes).dense()
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def test_many_classes_are_measured_with_every_variant_of_the_text_side(tmp_path: Path) -> None:
    everything = read_all(write(tmp_path, one=arrays(8, 3), many=arrays(120, 2)))
    data = largest(everything)
    assert data.name == "many"
    settings = Settings(tmp_path, tmp_path, tmp_path)
    entries = crowd(data, everything, settings)
    shown = [variant.name for variant in VARIANTS if SCOPES[0] in variant.scopes]
    assert {e["variant"] for e in entries} == set(shown)
    counts = [count for count in COUNTS if count <= 60]
    assert [(e["classes"], e["variant"]) for e in entries] == [
        (c, v) for c in counts for v in shown
    ]
    figures = {
        e["variant"]: (e["forget_after"], e["retain_after"], e["cosine"])
        for e in entries
        if e["classes"] == 50
    }
    for variant in VARIANTS:
        if variant.crowded:
            assert figures[variant.name] != figures["default"]
    # Here as on genuine CLIP the image side costs images what texts do not show.
    assert figures["image side: the row fit that came before"][2] < figures["default"][2]


def test_without_labelled_images_there_is_no_largest_data_set(tmp_path: Path) -> None:
    everything = read_all(write(tmp_path, bare=without(arrays(3, 1), "label", "text")))
    with pytest.raises(NotFoundError, match="needs labelled images"):
        largest(everything)
