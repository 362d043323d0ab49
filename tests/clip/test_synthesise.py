"""Synthesised prototypes: near their goal, the same however they are asked for, never computed twice."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from governance.clip import synthesise as module
from governance.clip.encode import encode_texts
from governance.clip.load import ClipModel, load_model
from governance.clip.source import parse_source
from governance.clip.synthesise import (
    Synthesis,
    _batch_norm_distances,
    _blurred,
    _total_variation,
    synthesise,
)
from governance.errors import InvalidInputError
from governance.unlearning.bank import unit
from governance.unlearning.projector import digest_tensor

PROMPTS = ["a photo of a car", "a sketch of a tree", "a cartoon of a fish", "a painting of a mug"]
FEW = Synthesis(steps=3, images=2)
SAVED_EVERY = 3
RESUMED = Synthesis(steps=2 * SAVED_EVERY + 2, images=1)


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return load_model(parse_source("demo", None))


@pytest.fixture(scope="module")
def goals(model: ClipModel) -> Tensor:
    return unit(encode_texts(model, PROMPTS))


@pytest.fixture
def saved_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_EVERY", SAVED_EVERY)


@pytest.fixture(scope="module")
def whole(model: ClipModel, goals: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """What an uninterrupted run with the settings `RESUMED` gives for two goals."""
    return synthesise(model, goals[:2], RESUMED, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def seen(model: ClipModel, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What goes into the image tower, call by call."""
    inputs: list[Tensor] = []
    original = model.module.encode_image

    def encode_image(images: Tensor, normalize: bool = False) -> Any:
        inputs.append(images.detach().clone())
        return original(images, normalize=normalize)

    monkeypatch.setattr(model.module, "encode_image", encode_image)
    return inputs


class Progress:
    """A meter that adds up, and interrupts after so many steps."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.totals: list[int] = []
        self.steps = 0
        self._limit = interrupt_after

    def __call__(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        return self._context(what, total)

    @contextmanager
    def _context(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        assert what == "synthesising prototypes"
        self.totals.append(total)

        def done(steps: int) -> None:
            self.steps += steps
            if self.steps == self._limit:
                raise KeyboardInterrupt

        yield done


def cosines(embeddings: Tensor, goals: Tensor) -> Tensor:
    """Of each instance to each goal, p × images × p."""
    return unit(embeddings) @ goals.T


def test_the_embeddings_approach_their_goal(
    model: ClipModel, goals: Tensor, tmp_path: Path
) -> None:
    before = cosines(synthesise(model, goals, FEW, tmp_path), goals)
    embeddings = synthesise(model, goals, replace(FEW, steps=20), tmp_path)
    assert (embeddings.shape, embeddings.dtype) == ((4, 2, model.dimension), torch.float32)
    assert not torch.allclose(embeddings.norm(dim=2), torch.ones(4, 2), atol=1e-2)  # unnormalised
    after = cosines(embeddings, goals)
    own_before, own = (each.diagonal(dim1=0, dim2=2).T for each in (before, after))
    assert (own > own_before + 0.2).all()
    assert (own > 0.8).all()
    assert (after.argmax(dim=2) == torch.arange(4).unsqueeze(1)).all()
    assert not torch.equal(embeddings[:, 0], embeddings[:, 1])  # instances differ


def test_the_same_settings_give_the_same_bytes(
    model: ClipModel, goals: Tensor, tmp_path: Path
) -> None:
    first, second = (synthesise(model, goals[:2], FEW, tmp_path / name) for name in "ab")
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"steps": 4},
        {"learning_rate": 0.2},
        {"jitter": 0.2},
        {"blur": 0.02},
        {"total_variation": 5.0},
        {"statistics": 0.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_counts_and_has_its_own_cache(
    model: ClipModel, goals: Tensor, tmp_path: Path, change: dict[str, Any]
) -> None:
    first = synthesise(model, goals[:1], FEW, tmp_path)
    other = synthesise(model, goals[:1], replace(FEW, **change), tmp_path)
    assert not torch.equal(first, other)
    assert torch.equal(synthesise(model, goals[:1], FEW, tmp_path), first)
    assert set(change) < set(FEW.to_dict())


def test_a_goal_is_independent_of_its_company(
    model: ClipModel, goals: Tensor, tmp_path: Path
) -> None:
    together = synthesise(model, goals, FEW, tmp_path / "together")
    for order in ([3], [2, 0]):
        alone = synthesise(model, goals[order], FEW, tmp_path / f"alone{order}")
        assert torch.equal(alone, together[order])


def test_only_what_is_missing_is_computed(
    model: ClipModel, goals: Tensor, tmp_path: Path, seen: list[Tensor]
) -> None:
    first = synthesise(model, goals[:1], FEW, tmp_path)
    for_one = len(seen)
    assert for_one >= FEW.steps
    seen.clear()
    progress = Progress()
    again = synthesise(model, goals[[0, 1, 0, 2, 1]], FEW, tmp_path, progress)
    assert len(seen) == 2 * for_one  # of five goals two are new, each once
    assert (progress.totals, progress.steps) == ([2 * FEW.steps], 2 * FEW.steps)
    assert torch.equal(again[[0, 2]], first[[0, 0]])
    assert torch.equal(again[1], again[4])
    seen.clear()
    progress = Progress()
    assert torch.equal(synthesise(model, goals[:3], FEW, tmp_path, progress), again[[0, 1, 3]])
    assert seen == []
    assert progress.totals == []


def test_no_goals_need_no_work(
    model: ClipModel, goals: Tensor, tmp_path: Path, seen: list[Tensor]
) -> None:
    assert synthesise(model, goals[:0], FEW, tmp_path).shape == (0, 2, model.dimension)
    assert seen == []


@pytest.mark.usefixtures("saved_often")
@pytest.mark.parametrize(
    ("interrupted", "saved"),
    [
        (SAVED_EVERY - 1, 0),
        (SAVED_EVERY, SAVED_EVERY),
        (2 * SAVED_EVERY + 1, 2 * SAVED_EVERY),
        (RESUMED.steps, RESUMED.steps),
    ],
)
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    model: ClipModel, goals: Tensor, tmp_path: Path, whole: Tensor, interrupted: int, saved: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        synthesise(model, goals[:2], RESUMED, tmp_path, Progress(interrupted))
    progress = Progress()
    assert torch.equal(synthesise(model, goals[:2], RESUMED, tmp_path, progress), whole)
    assert progress.totals == [2 * RESUMED.steps - saved]
    assert progress.steps == 2 * RESUMED.steps - saved


def test_a_larger_budget_continues_a_smaller_one(
    model: ClipModel, goals: Tensor, tmp_path: Path, whole: Tensor
) -> None:
    small = replace(RESUMED, steps=SAVED_EVERY + 1)
    first = synthesise(model, goals[:1], small, tmp_path)
    progress = Progress()
    assert torch.equal(synthesise(model, goals[:1], RESUMED, tmp_path, progress), whole[:1])
    assert progress.totals == [RESUMED.steps - small.steps]

    progress = Progress()
    assert torch.equal(synthesise(model, goals[:1], small, tmp_path, progress), first)
    assert progress.totals == []
    between = replace(RESUMED, steps=RESUMED.steps - 1)
    synthesise(model, goals[:1], between, tmp_path, progress)
    assert progress.totals == [between.steps]  # the saved state is past this budget


@pytest.mark.usefixtures("saved_often")
def test_only_the_last_state_is_kept(model: ClipModel, goals: Tensor, tmp_path: Path) -> None:
    synthesise(model, goals[:1], RESUMED, tmp_path)
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == [f"{RESUMED.steps}.safetensors", f"{RESUMED.steps}.state"]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x40
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [_flip, _truncate])
@pytest.mark.parametrize(
    ("damaged", "steps"), [(["safetensors"], 0), (["safetensors", "state"], FEW.steps)]
)
def test_damaged_files_are_noticed_and_made_again(
    model: ClipModel,
    goals: Tensor,
    tmp_path: Path,
    damage: Callable[[Path], None],
    damaged: list[str],
    steps: int,
) -> None:
    first = synthesise(model, goals[:1], FEW, tmp_path)
    for ending in damaged:
        (path,) = tmp_path.rglob(f"*.{ending}")
        damage(path)
    progress = Progress()
    assert torch.equal(synthesise(model, goals[:1], FEW, tmp_path, progress), first)
    assert progress.totals == [steps]
    progress = Progress()
    assert torch.equal(synthesise(model, goals[:1], FEW, tmp_path, progress), first)
    assert progress.totals == []


@pytest.mark.parametrize("interrupted", [None, 2])
def test_the_model_is_left_as_it_was(
    model: ClipModel, goals: Tensor, tmp_path: Path, interrupted: int | None
) -> None:
    """Also one that somebody left in training mode with frozen parts."""
    part, parameter = model.module.visual.bn1, model.module.visual.conv1.weight  # type: ignore[union-attr]
    assert isinstance(part, nn.BatchNorm2d)
    expected = synthesise(model, goals[:1], FEW, tmp_path / "expected")
    tensors = {name: digest_tensor(value) for name, value in model.module.state_dict().items()}
    assert any(name.endswith("running_mean") for name in tensors)
    try:
        part.train()
        parameter.requires_grad_(False)  # type: ignore[operator]
        modes = [module.training for module in model.module.modules()]
        flags = [each.requires_grad for each in model.module.parameters()]
        assert len(set(modes)) == len(set(flags)) == 2
        if interrupted is None:
            assert torch.equal(synthesise(model, goals[:1], FEW, tmp_path), expected)
        else:
            with pytest.raises(KeyboardInterrupt):
                synthesise(model, goals[:1], FEW, tmp_path, Progress(interrupted))
        assert [module.training for module in model.module.modules()] == modes
        assert [each.requires_grad for each in model.module.parameters()] == flags
        assert not any(module._forward_pre_hooks for module in model.module.modules())
    finally:
        part.eval()
        parameter.requires_grad_(True)  # type: ignore[operator]
    assert all(each.grad is None for each in model.module.parameters())
    now = {name: digest_tensor(value) for name, value in model.module.state_dict().items()}
    assert now == tensors


def test_the_tower_sees_pixels_between_black_and_white(
    vit: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs: list[Tensor] = []
    original = vit.module.encode_image

    def encode_image(images: Tensor, normalize: bool = False) -> Any:
        inputs.append(images.detach())
        return original(images, normalize=normalize)

    monkeypatch.setattr(vit.module, "encode_image", encode_image)
    settings = Synthesis(steps=30, images=2, learning_rate=2.0)
    synthesise(vit, torch.eye(vit.dimension)[:1], settings, tmp_path)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    pixels = torch.cat(inputs) * std.reshape(3, 1, 1) + mean.reshape(3, 1, 1)
    assert pixels.shape[1:] == (3, *vit.image_size)
    low, high = (reduce(pixels, dim=(0, 2, 3)) for reduce in (torch.amin, torch.amax))
    assert (low >= -1e-6).all()
    assert (high <= 1 + 1e-6).all()
    assert (low < 0.1).all()
    assert (high > 0.9).all()


def test_jitter_shifts_each_image_by_whole_pixels(
    model: ClipModel, goals: Tensor, tmp_path: Path, seen: list[Tensor]
) -> None:
    still = Synthesis(steps=1, images=6, jitter=0, blur=0)
    synthesise(model, goals[:1], still, tmp_path)
    synthesise(model, goals[:1], replace(still, jitter=3 / 64), tmp_path)
    plain, shifted = seen[0], seen[len(seen) // 2]
    reach = range(-3, 4)
    found = [
        [(y, x) for y in reach for x in reach if torch.equal(a.roll((y, x), (1, 2)), b)]
        for a, b in zip(plain, shifted, strict=True)
    ]
    assert all(len(shifts) == 1 for shifts in found)
    assert len({shifts[0] for shifts in found}) > 1


def test_total_variation_by_hand() -> None:
    """Differences across 1, 0 and 0.5, 0.5 … of a 2 × 2 image: (1 + 0.5) / 2 across, (0 + 0.5) / 2 down."""
    image = torch.tensor([[0.0, 1.0], [0.0, 0.5]]).expand(1, 3, 2, 2)
    assert _total_variation(image).tolist() == pytest.approx([1.0])
    assert _total_variation(torch.full((2, 3, 4, 5), 0.7)).tolist() == pytest.approx([0, 0])


def test_batch_norm_distances_by_hand() -> None:
    """Two channels over two images of two pixels: kept 0 ± 1 and 10 ± 2, found 1 ± 1 and 10 ± 6."""
    layer = nn.BatchNorm2d(2, eps=0).eval()
    without = nn.BatchNorm2d(2, track_running_stats=False).eval()
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(torch.tensor([0.0, 10.0]))
    layer.running_var.copy_(torch.tensor([1.0, 4.0]))
    images = torch.tensor([[[0.0, 2.0], [4.0, 16.0]], [[2.0, 0.0], [16.0, 4.0]]]).unsqueeze(2)
    tower = nn.Sequential(layer, without)
    with _batch_norm_distances(tower, True) as distances:
        tower(images)
    expected = ((1 - 0) ** 2 + (1 - 1) ** 2 + 0**2 + (6 / 2 - 1) ** 2) / 2
    assert [float(distance) for distance in distances] == pytest.approx([expected])
    tower(images)
    assert len(distances) == 1  # the layers are free again
    with _batch_norm_distances(tower, False) as none:
        tower(images)
    assert none == []


def test_statistics_bring_activations_nearer_to_those_of_training_images(
    model: ClipModel, goals: Tensor, tmp_path: Path, seen: list[Tensor]
) -> None:
    found = []
    for weight in (0.0, 10.0):
        seen.clear()
        settings = Synthesis(steps=15, images=2, statistics=weight)
        synthesise(model, goals[:1], settings, tmp_path)
        with _batch_norm_distances(model.module, True) as distances, torch.no_grad():
            model.module.encode_image(seen[-1])  # type: ignore[operator]
        found.append(float(torch.stack(distances).mean()))
    assert found[1] < 0.7 * found[0]


def test_the_widest_blur_fits_the_smallest_image(vit: ClipModel, tmp_path: Path) -> None:
    settings = replace(FEW, steps=1, blur=0.249)
    made = synthesise(vit, torch.eye(vit.dimension)[:1], settings, tmp_path)
    assert torch.isfinite(made).all()


def test_blur_is_gaussian_and_each_image_has_its_own() -> None:
    point = torch.zeros(3, 1, 21, 21)
    point[:, :, 10, 10] = 1
    blurred = _blurred(point, torch.tensor([0.0, 1.0, 2.0]), 2.0)[:, 0]
    assert torch.equal(blurred[0], point[0, 0])
    assert blurred.sum(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1])
    for image, sigma in ((1, 1.0), (2, 2.0)):
        ratio = float(blurred[image, 10, 11] / blurred[image, 10, 10])
        assert ratio == pytest.approx(math.exp(-1 / (2 * sigma**2)), abs=1e-5)
        assert torch.allclose(blurred[image], blurred[image].T, atol=1e-6)
    flat = torch.full((1, 3, 12, 9), 0.3)
    assert torch.allclose(_blurred(flat, torch.tensor([1.5]), 2.0), flat)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.ones(3), r"goals must have the 128 columns of demo, not the shape \(3,\)"),
        (torch.ones(2, 127), r"goals must have the 128 columns of demo, not the shape \(2, 127\)"),
        (torch.zeros(1, 128), "goals must be finite and not zero"),
        (torch.full((1, 128), math.nan), "goals must be finite and not zero"),
    ],
)
def test_goals_that_do_not_fit_are_refused(
    model: ClipModel, tmp_path: Path, wrong: Tensor, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        synthesise(model, wrong, FEW, tmp_path)


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise RuntimeError("derivative is not implemented\nand more")


class _Overflowing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * math.nan


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda features: features.detach(),
            "the image tower of demo gives no gradient to its pixels; use text or few-shot prototypes",
        ),
        (
            _NoBackward.apply,
            "the image tower of demo gives no gradient to its pixels: derivative is not implemented$",
        ),
        (
            lambda features: features * math.nan,
            "synthesising for demo gave a loss of nan with a gradient of nan at step 1; use text",
        ),
        (
            _Overflowing.apply,
            r"gave a loss of \d\.\d+ with a gradient of nan at step 1; use text",
        ),
    ],
    ids=["detached", "no derivative", "infinite loss", "infinite gradient"],
)
def test_a_tower_that_cannot_be_inverted_is_refused(
    model: ClipModel,
    goals: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Tensor], Tensor],
    message: str,
) -> None:
    original = model.module.encode_image
    monkeypatch.setattr(
        model.module, "encode_image", lambda *args, **named: broken(original(*args, **named))
    )
    with pytest.raises(InvalidInputError, match=message):
        synthesise(model, goals[:1], FEW, tmp_path)
    assert all(parameter.requires_grad for parameter in model.module.parameters())
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("images", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("jitter", -0.1),
        ("jitter", 1.0),
        ("blur", -1.0),
        ("blur", 0.25),
        ("total_variation", -1.0),
        ("total_variation", math.nan),
        ("statistics", -1.0),
    ],
)
def test_settings_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=name.replace("_", "-")):
        Synthesis(**{name: value})


@pytest.mark.benchmark
def test_on_a_real_model_a_prototype_is_nearer_to_real_images_than_its_text(
    benchmark_dir: Path, tmp_path: Path
) -> None:
    """Two classes in two domains, against the means of real training images."""
    pytest.importorskip("transformers", reason="the benchmark's text tower needs transformers")
    command = [sys.executable, str(benchmark_dir / "prepare.py"), str(tmp_path / "model")]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    real_model = load_model(parse_source(name, None))
    with np.load(benchmark_dir / "embeddings.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    pairs = [(label, domain) for label in (0, 3) for domain in (0, 3)]

    def mean_of(name: str, label: int, domain: int) -> Tensor:
        if name == "text":
            mask = (arrays["text_class"] == label) & (arrays["text_domain"] == domain)
            mask &= arrays["text_kind"] == "train"
        else:
            mask = (arrays["few_shot_label"] == label) & (arrays["few_shot_domain"] == domain)
        return unit(unit(torch.from_numpy(arrays[name][mask])).mean(dim=0))

    text, real = (
        torch.stack([mean_of(name, *pair) for pair in pairs]) for name in ("text", "few_shot_image")
    )
    settings = Synthesis(steps=8, images=2)
    made = unit(unit(synthesise(real_model, text, settings, tmp_path)).mean(dim=1))
    assert ((made * real).sum(dim=1) > (text * real).sum(dim=1) + 0.03).all()
    assert ((made @ real.T).argmax(dim=1) == torch.arange(4)).all()
