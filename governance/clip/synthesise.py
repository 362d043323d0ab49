"""Visual prototypes without images: pixels optimised through the frozen image tower towards a text embedding.

The idea is that of arXiv 2512.14113 (visual prototypes synthesised from the joint embedding space); the regularisers
are the usual ones of feature visualisation (total variation and jitter: Mahendran & Vedaldi, arXiv 1412.0035; BatchNorm
statistics: DeepInversion, arXiv 1912.08795).
What counts is the embedding of the images, not the images.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from governance.clip.cache import EmbeddingCache, file_name, read_tensors, write_tensors
from governance.clip.load import ClipModel
from governance.digests import digest_json
from governance.errors import InvalidInputError
from governance.progress import Meter, silent
from governance.unlearning.bank import unit
from governance.unlearning.projector import digest_tensor

CHECKPOINT_EVERY = 10
"""Steps after which an interrupted run need not be repeated."""

_REVISION = 1
"""Part of every key; raised when the same settings give other pixels than before."""

_FIRST_CONTRAST = 0.1
"""Standard deviation of the first logits of the pixels: grey noise."""


@dataclass(frozen=True)
class Synthesis:
    """Everything that determines the synthesised images besides the model and the goal.

    Attributes:
        steps: gradient steps for each image, the budget.
        images: instances of each (class, domain), from different first noise.
        seed: of the first noise and the random views.
        learning_rate: of Adam, on the logits of the pixels; constant, so that a larger budget continues a smaller.
        jitter: largest shift of a view, as a fraction of the side.
        blur: largest standard deviation of a view's Gaussian blur, as a fraction of the shorter side.
        total_variation: weight of the mean absolute difference of neighbouring pixels.
        statistics: weight of how far the activations of a goal's images are from the means and deviations that the
            tower's BatchNorm layers keep of its training images; without such layers it does nothing.
    """

    steps: int = 12
    images: int = 4
    seed: int = 0
    learning_rate: float = 0.05
    jitter: float = 0.0
    blur: float = 0.0
    total_variation: float = 0.0
    statistics: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InvalidInputError: a value outside its range.
        """
        for name in ("steps", "images"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidInputError(f"learning-rate must be positive, not {self.learning_rate}")
        limits = {"jitter": 1, "blur": 0.25, "total_variation": math.inf, "statistics": math.inf}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) < limit:
                raise InvalidInputError(
                    f"{name.replace('_', '-')} must lie in [0, {limit}), not {getattr(self, name)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)


def synthesise(
    model: ClipModel, goals: Tensor, settings: Synthesis, cache_dir: Path, meter: Meter = silent
) -> Tensor:
    """Embeddings of images optimised towards text embeddings.

    Each goal is optimised on its own, in one batch of its instances, so that its result does not depend on which other
    goals are asked for. Finished goals are cached; an interrupted or a smaller run is continued where it was saved and
    ends in the same bytes.

    Args:
        model: its image tower is frozen; the model is left as it was.
        goals: p × d, unit text embeddings, one for each (class, domain).
        settings: budget, seed and regularisers.
        cache_dir: results and states are kept in its folder ``prototypes``.
        meter: told of each step of each goal's batch that is really done.

    Returns:
        p × images × d, unnormalised float32.

    Raises:
        InvalidInputError: the goals do not fit the model, the image tower has no gradient, or the loss overflows.
    """
    goals = _checked(model, goals)
    if len(goals) == 0:
        return torch.zeros(0, settings.images, model.dimension)
    directory = cache_dir / "prototypes"
    cache = EmbeddingCache(directory)
    runs = [_Run(model, goal, settings, directory) for goal in goals]
    found: dict[Path, Tensor] = {}
    pending: dict[Path, _Run] = {}
    for run in runs:
        embeddings = cache.get(run.result, settings.images, model.dimension)
        if embeddings is None:
            pending[run.result] = run
        else:
            found[run.result] = embeddings
    if pending:
        total = sum(settings.steps - run.saved().step for run in pending.values())
        with meter("synthesising prototypes", total) as done, _frozen(model.module):
            for path, run in pending.items():
                state = run.saved()
                run.optimise(state, done)
                found[path] = run.embed(state)
                cache.put(path, found[path])
    return torch.stack([found[run.result] for run in runs])


def _checked(model: ClipModel, goals: Tensor) -> Tensor:
    if goals.ndim != 2 or goals.shape[1] != model.dimension:
        raise InvalidInputError(
            f"goals must have the {model.dimension} columns of {model.source.describe()}, "
            f"not the shape {tuple(goals.shape)}"
        )
    if not torch.isfinite(goals).all() or not goals.any(dim=1).all():
        raise InvalidInputError("goals must be finite and not zero")
    return unit(goals)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients reach the pixels only, and BatchNorm keeps its statistics; the module is left as it was."""
    parameters = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval().requires_grad_(False)
        yield
    finally:
        for parameter, required in parameters:
            parameter.requires_grad_(required)
        for part, training in modes:
            part.training = training


@dataclass
class _State:
    """A point of the trajectory. Views are drawn from the step's number, so no generator need be kept.

    Attributes:
        step: gradient steps done.
        logits: of the pixels, images × 3 × H × W.
        mean: Adam's first moment, likewise.
        square: Adam's second moment, likewise.
    """

    step: int
    logits: Tensor
    mean: Tensor
    square: Tensor


class _Run:
    """The optimisation of one goal.

    Attributes:
        result: file of its embeddings.
    """

    def __init__(
        self, model: ClipModel, goal: Tensor, settings: Synthesis, directory: Path
    ) -> None:
        self._model, self._goal, self._settings = model, goal.float(), settings
        self._seed = [settings.seed, digest_tensor(goal)]
        trajectory = settings.to_dict() | {"steps": None}  # a larger budget goes on from a smaller
        key = [_REVISION, model.weights_digest, model.config_digest, trajectory, self._seed]
        self._directory = directory / file_name(key)
        self.result = self._directory / f"{settings.steps}.safetensors"
        preprocess = model.config["preprocess_cfg"]
        self._mean, self._std = (
            torch.tensor(preprocess[name]).reshape(3, 1, 1) for name in ("mean", "std")
        )

    def saved(self) -> _State:
        """The furthest state on disk that is within the budget, or the first one."""
        steps = self._settings.steps
        for step in sorted((s for s in self._saved_steps() if s <= steps), reverse=True):
            tensors = read_tensors(self._state_path(step))
            if tensors is not None:
                return _State(step, tensors["logits"], tensors["mean"], tensors["square"])
        noise = [
            torch.randn(3, *self._model.image_size, generator=self._generator(image, 0))
            for image in range(self._settings.images)
        ]
        logits = _FIRST_CONTRAST * torch.stack(noise)
        return _State(0, logits, torch.zeros_like(logits), torch.zeros_like(logits))

    def optimise(self, state: _State, done: Callable[[int], None]) -> None:
        """Take `state` to the end of the budget, saving it on the way.

        Raises:
            InvalidInputError: there is no gradient, or the loss overflows.
        """
        settings = self._settings
        logits = state.logits.requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=settings.learning_rate)
        optimiser.state[logits] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": state.mean,
            "exp_avg_sq": state.square,
        }
        with _batch_norm_distances(self._model.module, settings.statistics > 0) as distances:
            while state.step < settings.steps:
                distances.clear()
                logits.grad = self._gradient(logits, state.step + 1, distances)
                optimiser.step()
                state.step += 1
                if state.step % CHECKPOINT_EVERY == 0 or state.step == settings.steps:
                    self._save(state)
                done(1)

    def embed(self, state: _State) -> Tensor:
        """Embedding of each image as it is, images × d, unnormalised float32."""
        with torch.no_grad():
            return self._features(torch.sigmoid(state.logits))

    def _gradient(self, logits: Tensor, step: int, distances: list[Tensor]) -> Tensor:
        pixels = torch.sigmoid(logits)
        features = self._features(self._view(pixels, step))
        if not features.requires_grad:
            raise InvalidInputError(f"{self._refusal}; use text or few-shot prototypes")
        similarity = functional.cosine_similarity(features, self._goal)
        loss = (1 - similarity + self._settings.total_variation * _total_variation(pixels)).sum()
        if distances:
            mean_distance = torch.stack(distances).mean()
            loss = loss + self._settings.statistics * len(pixels) * mean_distance
        try:
            (gradient,) = torch.autograd.grad(loss, [logits])
        except RuntimeError as error:
            raise InvalidInputError(f"{self._refusal}: {str(error).splitlines()[0]}") from error
        if not (torch.isfinite(loss) and torch.isfinite(gradient).all()):
            raise InvalidInputError(
                f"synthesising for {self._model.source.describe()} gave a loss of {loss.item()} with "
                f"a gradient of {gradient.norm().item()} at step {step}; use text or few-shot prototypes"
            )
        return gradient

    @property
    def _refusal(self) -> str:
        return f"the image tower of {self._model.source.describe()} gives no gradient to its pixels"

    def _features(self, pixels: Tensor) -> Tensor:
        normalised = (pixels - self._mean) / self._std
        features: Tensor = self._model.module.encode_image(normalised, normalize=False)  # type: ignore[operator]
        return features.float()

    def _view(self, pixels: Tensor, step: int) -> Tensor:
        """Each image shifted and blurred at random; what is drawn is determined by seed, goal, image and step."""
        settings = self._settings
        sides = torch.tensor(pixels.shape[2:])
        draws = [torch.rand(3, generator=self._generator(i, step)) for i in range(len(pixels))]
        if settings.jitter > 0:
            shifts = [(settings.jitter * sides * (2 * draw[:2] - 1)).round() for draw in draws]
            pixels = torch.stack(
                [
                    image.roll([int(shift[0]), int(shift[1])], dims=(1, 2))
                    for image, shift in zip(pixels, shifts, strict=True)
                ]
            )
        largest = settings.blur * int(sides.min())
        if largest > 0:
            sigma = largest * torch.stack(draws)[:, 2]
            pixels = _blurred(pixels, sigma, largest)
        return pixels

    def _generator(self, image: int, number: int) -> torch.Generator:
        digits = digest_json([*self._seed, image, number]).removeprefix("sha256:")
        return torch.Generator().manual_seed(int(digits[:15], 16))

    def _saved_steps(self) -> list[int]:
        return [int(path.stem) for path in self._directory.glob("*.state")]

    def _state_path(self, step: int) -> Path:
        return self._directory / f"{step}.state"

    def _save(self, state: _State) -> None:
        """Keep a state and drop the earlier ones; a later one belongs to a larger budget."""
        tensors = {"logits": state.logits.detach(), "mean": state.mean, "square": state.square}
        write_tensors(self._state_path(state.step), tensors)
        for step in self._saved_steps():
            if step < state.step:
                self._state_path(step).unlink(missing_ok=True)


@contextmanager
def _batch_norm_distances(module: nn.Module, wanted: bool) -> Iterator[list[Tensor]]:
    """Collect how far each batch is from what the BatchNorm layers it passes keep, one number a layer.

    With mean μ and deviation σ of a channel over the batch, and m, s those kept, it is the mean over channels of
    ((μ − m) / s)² + (σ / s − 1)²: the terms of DeepInversion (arXiv 1912.08795, eq. 4), in units of s.
    """
    distances: list[Tensor] = []

    def collect(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        if layer.running_mean is None or layer.running_var is None:
            return
        channels = inputs[0].transpose(0, 1).flatten(1)
        kept = (layer.running_var + layer.eps).sqrt()
        mean = (channels.mean(dim=1) - layer.running_mean) / kept
        deviation = (channels.var(dim=1, correction=0) + layer.eps).sqrt() / kept
        distances.append((mean**2 + (deviation - 1) ** 2).mean())

    layers = [part for part in module.modules() if isinstance(part, _BatchNorm)] if wanted else []
    hooks = [layer.register_forward_pre_hook(collect) for layer in layers]
    try:
        yield distances
    finally:
        for hook in hooks:
            hook.remove()


def _total_variation(pixels: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels of each image, n."""
    across = (pixels[..., 1:] - pixels[..., :-1]).abs().mean(dim=(1, 2, 3))
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down


def _blurred(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Each image blurred by a Gaussian of its own standard deviation (n, pixels), at most `largest`."""
    count, channels, height, width = images.shape
    reach = math.ceil(2.5 * largest)
    offsets = torch.arange(-reach, reach + 1.0)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp_min(1e-3).unsqueeze(1)) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    stacked = images.reshape(1, count * channels, height, width)
    stacked = functional.pad(stacked, (reach, reach, reach, reach), mode="reflect")
    stacked = functional.conv2d(stacked, kernel[:, None, :, None], groups=count * channels)
    stacked = functional.conv2d(stacked, kernel[:, None, None, :], groups=count * channels)
    return stacked.reshape(images.shape)
