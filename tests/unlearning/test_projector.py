"""Theorems of the closed-form edit, on easy and on degenerate rows; what its digest binds."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.bank import unit
from governance.unlearning.projector import (
    RANK_TOLERANCE,
    Projector,
    digest_tensor,
    identity,
    solve,
)

FEW = settings(max_examples=30, deadline=None)
SHAPES = ("independent", "duplicated", "near-parallel", "below tolerance", "rank-deficient")


@dataclass(frozen=True)
class Problem:
    """Arguments of `solve`, and how many directions its forget rows really have."""

    forget: Tensor
    targets: Tensor
    weights: Tensor
    retain: Tensor
    held: Tensor
    rank: int

    @property
    def dimension(self) -> int:
        return self.forget.shape[1]

    def solve(self, mu: float = 0.1) -> Projector:
        return solve(self.forget, self.targets, self.weights, self.retain, self.held, mu)

    def objective(self, P: Tensor, mu: float = 0.1) -> float:
        missed = ((self.forget @ P - self.targets) ** 2).sum(dim=1)
        moved = ((self.retain @ P - self.retain) ** 2).sum(dim=1)
        size = ((P - torch.eye(self.dimension, dtype=torch.float64)) ** 2).sum()
        return float(self.weights @ missed + self.held @ moved + mu * size)

    def unheld(self, goals: Tensor, mu: float) -> Projector:
        """The same rows to other goals, with nothing retained."""
        none = self.retain[:0]
        return solve(self.forget, goals, self.weights, none, self.held[:0], mu)

    def nullspace(self, strength: float) -> Projector:
        return self.unheld((1 - strength) * self.forget, 0.0)

    def basis(self) -> Tensor:
        """Orthonormal rows that span the forget rows."""
        return torch.linalg.svd(self.forget, full_matrices=False).Vh[: self.rank]


@st.composite
def problems(draw: st.DrawFn, shapes: tuple[str, ...] = SHAPES) -> Problem:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dimension = draw(st.integers(8, 40))
    base, retained = draw(st.integers(1, 4)), draw(st.integers(0, 4))

    def rows(count: int) -> Tensor:
        return unit(torch.randn(count, dimension, generator=generator, dtype=torch.float64))

    forget, rank = rows(base), base
    match draw(st.sampled_from(shapes)):
        case "duplicated":
            forget = torch.cat([forget, forget])
        case "near-parallel":
            forget, rank = torch.cat([forget, unit(forget + 1e-3 * rows(base))]), 2 * base
        case "below tolerance":
            forget = torch.cat([forget, unit(forget + 1e-9 * rows(base))])
        case "rank-deficient":
            mix = torch.rand(3, base, generator=generator, dtype=torch.float64) + 0.1
            forget = torch.cat([forget, unit(mix @ forget)])
    count = len(forget)
    weights = 1 + 999 * torch.rand(count, generator=generator, dtype=torch.float64)
    held = 1 + 9 * torch.rand(retained, generator=generator, dtype=torch.float64)
    return Problem(forget, 0.5 * rows(count), weights, rows(retained), held, rank)


STRENGTHS = st.sampled_from([0.01, 0.25, 0.5, 0.9, 1.0])


@FEW
@given(problems())
def test_solution_equals_the_direct_dense_one(problem: Problem) -> None:
    F, R = problem.forget, problem.retain
    W, V = torch.diag(problem.weights), torch.diag(problem.held)
    held = R.T @ V @ R + 0.1 * torch.eye(problem.dimension, dtype=torch.float64)
    normal = F.T @ W @ F + held
    P = torch.linalg.solve(normal, F.T @ W @ problem.targets + held)
    projector = problem.solve()
    torch.testing.assert_close(projector.dense(), P, atol=1e-8, rtol=0)
    assert projector.condition == pytest.approx(float(torch.linalg.cond(normal)), rel=1e-6)


@FEW
@given(problems(), st.integers(0, 2**32), st.sampled_from([1e-3, 1.0]))
def test_no_perturbation_lowers_the_objective(problem: Problem, seed: int, size: float) -> None:
    P = problem.solve().dense()
    lowest = problem.objective(P)
    eye = torch.eye(problem.dimension, dtype=torch.float64)
    assert lowest < problem.objective(eye)  # doing nothing costs something
    generator = torch.Generator().manual_seed(seed)
    for _ in range(5):
        step = torch.randn(P.shape, generator=generator, dtype=torch.float64)
        assert problem.objective(P + size * step / step.norm()) > lowest


@FEW
@given(problems(), STRENGTHS)
def test_nullspace_is_the_identity_less_a_share_of_the_span(
    problem: Problem, strength: float
) -> None:
    U = problem.basis()
    eye = torch.eye(problem.dimension, dtype=torch.float64)
    projector = problem.nullspace(strength)
    torch.testing.assert_close(projector.dense(), eye - strength * U.T @ U, atol=1e-7, rtol=0)
    assert projector.rank == problem.rank


@FEW
@given(problems())
def test_full_nullspace_is_idempotent_and_removes_every_forget_row(problem: Problem) -> None:
    P = problem.nullspace(1.0).dense()
    assert (P - torch.eye(problem.dimension, dtype=torch.float64)).norm() > 0.9
    torch.testing.assert_close(P @ P, P, atol=1e-7, rtol=0)
    torch.testing.assert_close(P, P.T, atol=1e-7, rtol=0)
    assert (problem.forget.norm(dim=1) > 0.9).all()
    assert (problem.forget @ P).norm(dim=1).max() < 1e-6


@FEW
@given(problems(), st.sampled_from([0.01, 0.5, 0.9]))
def test_partial_nullspace_leaves_the_rest_and_is_not_idempotent(
    problem: Problem, strength: float
) -> None:
    P = problem.nullspace(strength).dense()
    rest = (1 - strength) * problem.forget
    torch.testing.assert_close(problem.forget @ P, rest, atol=1e-6, rtol=0)
    assert (P @ P - P).norm() > 1e-3


@FEW
@given(problems(("independent", "duplicated", "rank-deficient")))
def test_nullspace_is_the_limit_of_a_vanishing_mu(problem: Problem) -> None:
    limit = problem.nullspace(1.0).dense()
    goals = torch.zeros_like(problem.forget)

    def distance(mu: float) -> float:
        return float((problem.unheld(goals, mu).dense() - limit).norm())

    assert distance(1e-6) < min(distance(1e-1), 1e-3)


@FEW
@given(problems(("independent",)))
def test_redirect_misses_its_goals_and_moves_retained_rows_by_no_more_than_the_bound(
    problem: Problem,
) -> None:
    """An edit that meets every wish exactly costs μ‖P* − I‖², and the minimiser costs no more."""
    wishes = torch.cat([problem.targets - problem.forget, torch.zeros_like(problem.retain)])
    exact = torch.linalg.pinv(torch.cat([problem.forget, problem.retain])) @ wishes
    bound = 0.1 * float((exact**2).sum())
    P = problem.solve(mu=0.1).dense()
    missed = ((problem.forget @ P - problem.targets) ** 2).sum(dim=1)
    moved = ((problem.retain @ P - problem.retain) ** 2).sum(dim=1)
    assert float(problem.weights @ missed + problem.held @ moved) <= bound * (1 + 1e-9)


def test_redirect_sends_forgotten_rows_to_their_goals_and_holds_the_retained_ones() -> None:
    generator = torch.Generator().manual_seed(3)
    rows = unit(torch.randn(9, 40, generator=generator, dtype=torch.float64))
    forget, retain = rows[:3], rows[3:]
    goals = retain.mean(dim=0).expand(3, -1)
    weights = torch.full((3,), 1e3, dtype=torch.float64)
    loose = solve(forget, goals, weights, retain[:0], weights[:0], 0.1)
    assert (loose.apply(retain) - retain).norm(dim=1).max() > 0.1  # unheld, they move
    tens = torch.full((6,), 10.0, dtype=torch.float64)
    held = solve(forget, goals, weights, retain, tens, 0.1)
    assert (forget - goals).norm(dim=1).min() > 0.9
    assert (held.apply(forget) - goals).norm(dim=1).max() < 1e-3
    assert (held.apply(retain) - retain).norm(dim=1).max() < 0.03


@FEW
@given(problems())
def test_rank_and_singular_values_from_the_factors_are_those_of_the_matrix(
    problem: Problem,
) -> None:
    projector = problem.solve()
    eye = torch.eye(problem.dimension, dtype=torch.float64)
    change = projector.dense() - eye
    values = torch.linalg.svdvals(change)
    own = projector.singular_values()
    assert len(own) == min(problem.dimension, len(problem.forget))
    torch.testing.assert_close(own, values[: len(own)], atol=1e-9, rtol=0)
    assert (values[len(own) :] < 1e-9).all()
    rank = torch.linalg.matrix_rank(change, rtol=RANK_TOLERANCE)
    assert projector.rank == int(rank)
    assert 1 <= projector.rank <= len(problem.forget)


@FEW
@given(problems(("independent", "duplicated", "near-parallel", "rank-deficient")))
def test_rank_is_at_most_that_of_the_forget_rows(problem: Problem) -> None:
    """Repeating or mixing rows costs no capacity, even when each asks for another goal."""
    assert int(torch.linalg.matrix_rank(problem.forget, rtol=RANK_TOLERANCE)) == problem.rank
    assert 1 <= problem.solve().rank <= problem.rank <= len(problem.forget)


def test_more_forget_rows_than_dimensions_still_have_a_solution() -> None:
    generator = torch.Generator().manual_seed(4)
    forget = unit(torch.randn(12, 8, generator=generator, dtype=torch.float64))
    weights = torch.ones(12, dtype=torch.float64)
    projector = solve(forget, torch.zeros_like(forget), weights, forget[:0], weights[:0], 0.0)
    assert projector.dense().abs().max() < 1e-9  # they span everything
    assert projector.rank == 8
    assert len(projector.singular_values()) == 8


def test_a_forget_row_without_a_direction_changes_nothing() -> None:
    """`unit` leaves a zero row zero, and I + F⁺(G − F) is then the identity."""
    zero = torch.zeros(1, 8, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    projector = solve(zero, zero, one, zero[:0], one[:0], 0.0)
    torch.testing.assert_close(projector.dense(), torch.eye(8, dtype=torch.float64))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@FEW
@given(problem=problems())
def test_apply_is_the_dense_product_in_the_dtype_of_the_features(
    problem: Problem, dtype: torch.dtype, atol: float
) -> None:
    projector = problem.solve()
    features = torch.randn(5, problem.dimension, generator=torch.Generator().manual_seed(0))
    edited = projector.apply(features.to(dtype))
    assert edited.dtype == dtype
    expected = features.double() @ projector.dense()
    torch.testing.assert_close(edited.double(), expected, atol=atol, rtol=0)
    torch.testing.assert_close(projector.apply(features[0].to(dtype)), edited[0], atol=atol, rtol=0)


@FEW
@given(problems(), STRENGTHS)
def test_zero_goals_with_retained_rows_are_ccup(problem: Problem, strength: float) -> None:
    """P = (λf FᵀF + λr RᵀR + μI)⁻¹(λr RᵀR + μI), arXiv 2512.14137; α is a step of that length from I."""
    F, R = problem.forget, problem.retain
    eye = torch.eye(problem.dimension, dtype=torch.float64)
    kept = 10 * R.T @ R + 0.1 * eye
    direct = torch.linalg.solve(1000 * F.T @ F + kept, kept)
    weights = torch.full((len(F),), 1000.0, dtype=torch.float64)
    held = torch.full((len(R),), 10.0, dtype=torch.float64)
    projector = solve(F, (1 - strength) * F, weights, R, held, 0.1)
    expected = eye + strength * (direct - eye)
    torch.testing.assert_close(projector.dense(), expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("weight", "held", "mu"), [(1.0, 1e-300, 1e-300), (1e300, 1.0, 1e-300), (math.inf, 1.0, 1.0)]
)
def test_weights_that_float64_cannot_bring_together_are_refused(
    weight: float, held: float, mu: float
) -> None:
    rows = unit(torch.randn(3, 8, generator=torch.Generator().manual_seed(5)))
    weights = torch.full((2,), weight, dtype=torch.float64)
    retained = torch.full((1,), held, dtype=torch.float64)
    with pytest.raises(InvalidInputError, match="too far apart to solve for"):
        solve(rows[:2], torch.zeros_like(rows[:2]), weights, rows[2:], retained, mu)


def test_factors_are_float64_whatever_the_rows_are() -> None:
    rows = unit(torch.randn(3, 8, generator=torch.Generator().manual_seed(1))).float()
    projector = solve(rows[:2], rows[1:], torch.ones(2), rows[2:], torch.ones(1), 0.1)
    assert projector.a.dtype == projector.b.dtype == torch.float64
    assert projector.a.shape == (8, 2)
    assert projector.b.shape == (2, 8)


def test_nothing_to_forget_is_the_identity() -> None:
    retain = torch.eye(6, dtype=torch.float64)[:2]
    empty = solve(retain[:0], retain[:0], torch.ones(0), retain, torch.ones(2), 0.1)
    for projector in (identity(6), empty):
        assert torch.equal(projector.dense(), torch.eye(6, dtype=torch.float64))
        features = torch.randn(3, 6)
        assert torch.equal(projector.apply(features), features)
        assert (projector.rank, projector.dimension, projector.condition) == (0, 6, 1.0)
        assert projector.singular_values().shape == (0,)
    assert empty.digest == identity(6).digest != identity(7).digest


def pinned() -> Projector:
    a = torch.arange(6, dtype=torch.float64).reshape(3, 2) / 4
    return Projector(a, -a.T.contiguous(), 1.0)


def test_digest_of_the_same_factors_is_the_same_in_every_release() -> None:
    assert pinned().digest == (
        "sha256:f19a0e4ccc13ef2497ee68c07c4e55bfcdd0adb06b5358fce12754c71bc24566"
    )


def test_digest_depends_on_values_not_on_memory() -> None:
    projector = pinned()
    strided = Projector(projector.a.T.contiguous().T, projector.b.clone(), 2.0)
    assert not strided.a.is_contiguous()
    assert projector.digest.startswith("sha256:")
    assert strided.digest == projector.digest


@FEW
@given(st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 63))
def test_digest_changes_with_any_bit(factor: str, element: int, bit: int) -> None:
    projector, changed = pinned(), pinned()
    bits = getattr(changed, factor).view(torch.int64).view(-1)
    bits[element] ^= (1 << bit) if bit < 63 else -(1 << 63)
    assert changed.digest != projector.digest


def test_digest_tells_dtypes_shapes_and_factors_apart() -> None:
    zeros = torch.zeros(2, 3)
    dtypes = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int16)
    tensors = [zeros.to(dtype) for dtype in dtypes] + [zeros.T, zeros.reshape(6), -zeros]
    assert len({digest_tensor(tensor) for tensor in tensors}) == len(tensors)
    square = torch.arange(4, dtype=torch.float64).reshape(2, 2)
    swapped = Projector(-square, square, 1.0)
    assert Projector(square, -square, 1.0).digest != swapped.digest
