"""The embedded dual encoder: its configuration, its training loop, and how it is judged.

An `open_clip.CLIP` of two million trained weights: a small ModifiedResNet for 64-pixel images and a
two-layer text transformer, meeting in 128 dimensions. (A ViT of the same cost needs several times
the steps to recognise as much from ten thousand images.) Captions of one batch repeat by the dozen,
so the usual in-batch contrastive loss would push equal captions apart; instead every image is
classified against one caption of each (class, domain) and one caption of each class, with templates
drawn anew at every step.

The last term of the loss makes image features linear in the captions, which contrastive training of a
small model does not do by itself; so edits look cleaner here than they do on a real model.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from governance.demo import LABELS_FILE
from governance.unlearning.labels import LabelSpace, fill, parse_labels

CONTEXT = 16
"""Tokens of a prompt, start and end included."""

MODEL_CFG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": 64,
        "layers": [1, 1, 1, 1],
        "width": 16,
        "patch_size": None,
        "head_width": 32,
    },
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": 49408,
        "width": 64,
        "heads": 4,
        "layers": 2,
    },
}
PREPROCESS_CFG: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}

LOGIT_SCALE = 12.0
"""Inverse temperature, fixed: a learnt one grows until captions need hardly differ to be told apart."""


def load_labels() -> LabelSpace:
    """The label space of `labels.toml`."""
    return parse_labels(LABELS_FILE.read_text(encoding="utf-8"), toml=True)


def all_prompts(labels: LabelSpace) -> list[str]:
    """Every template, those of a domain included, with every class and synonym."""
    named = [t for given in labels.domain_templates.values() for t in given]
    templates = (labels.score_template, *labels.templates, *named)
    nouns = [*labels.classes, *(s for given in labels.synonyms.values() for s in given)]
    return [fill(template, noun) for template in templates for noun in nouns]


def used_tokens(labels: LabelSpace) -> Tensor:
    """Sorted ids of every token that some prompt of the label space uses."""
    ids: Tensor = torch.unique(tokenise(all_prompts(labels)))
    return ids


def tokenise(prompts: list[str]) -> Tensor:
    """Token rows (n, context) of prompts."""
    rows: Tensor = open_clip.SimpleTokenizer(context_length=CONTEXT)(prompts)
    return rows


def build(seed: int, labels: LabelSpace) -> open_clip.CLIP:
    """An untrained encoder whose token rows that no prompt uses are zero, so that they compress."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**MODEL_CFG)
    unused = torch.ones(len(model.token_embedding.weight), dtype=torch.bool)
    unused[used_tokens(labels)] = False
    with torch.no_grad():
        model.token_embedding.weight[unused] = 0.0
        model.logit_scale.fill_(math.log(LOGIT_SCALE))
    model.logit_scale.requires_grad_(False)
    return model


class Captions:
    """Draws the captions of one training step as rows of used-token ids.

    `draw` returns (classes x domains + classes, context): first one caption for each (class, domain)
    pair, class by class, then one domain-less caption for each class.
    """

    def __init__(self, labels: LabelSpace, seed: int, synonym_rate: float = 0.25) -> None:
        self._labels = labels
        self._rate = synonym_rate
        self._generator = torch.Generator().manual_seed(seed)
        prompts = all_prompts(labels)
        # Ids count the used tokens only; the end-of-text id stays the largest, as pooling needs.
        rows = torch.searchsorted(used_tokens(labels), tokenise(prompts))
        self._row = dict(zip(prompts, rows, strict=True))

    def _pick(self, options: tuple[str, ...]) -> str:
        return options[int(torch.randint(len(options), (), generator=self._generator))]

    def _noun(self, label: str) -> str:
        if float(torch.rand((), generator=self._generator)) < self._rate:
            return self._pick(self._labels.synonyms[label])
        return label

    def draw(self) -> Tensor:
        """Token rows of one step."""
        labels = self._labels
        prompts = []
        for label in labels.classes:
            for given in labels.domain_templates.values():
                prompts.append(fill(self._pick(given), self._noun(label)))
        # Zero-shot scoring uses one wording for all classes, so one is drawn for all of them.
        plain = self._pick((labels.score_template, labels.score_template, *labels.templates))
        prompts += [fill(plain, self._noun(label)) for label in labels.classes]
        return torch.stack([self._row[p] for p in prompts])


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 (n, 3, s, s) to normalised float, mirrored, moved, zoomed and recoloured at random."""
    n = len(pixels)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    x = pixels.float().div_(127.5).sub_(1.0)
    mirror = torch.where(uniform(0, 1, n) < 0.5, -1.0, 1.0)
    turn, zoom = uniform(-0.2, 0.2, n), uniform(0.85, 1.15, n)
    rows = torch.zeros(n, 2, 3)
    rows[:, 0, 0], rows[:, 0, 1] = mirror * zoom * turn.cos(), -zoom * turn.sin()
    rows[:, 1, 0], rows[:, 1, 1] = mirror * zoom * turn.sin(), zoom * turn.cos()
    rows[:, :, 2] = uniform(-0.12, 0.12, n, 2)
    grid = functional.affine_grid(rows, list(x.shape), align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    gain, shift = uniform(0.75, 1.25, n, 1, 1, 1), uniform(-0.2, 0.2, n, 3, 1, 1)
    return (x * gain + shift).clamp_(-1.0, 1.0)


def train(
    model: open_clip.CLIP,
    images: Tensor,
    pairs: Tensor,
    labels: LabelSpace,
    *,
    steps: int,
    seed: int,
    batch: int = 128,
    class_weight: float = 0.5,
    mix_weight: float = 3.0,
    rate: float = 2e-3,
    report: Callable[[str], None] = print,
) -> None:
    """Fit `model` in place on uint8 `images` (n, 3, 64, 64) with pair indices (n,).

    A pair index is class index x number of domains + domain index.
    """
    generator = torch.Generator().manual_seed(seed)
    captions = Captions(labels, seed)
    n_pairs = len(labels.classes) * len(labels.domains)
    # Only the rows that prompts use are trained: a dense step over 49,408 rows would cost more than
    # the text tower itself.
    vocabulary, used = model.token_embedding, used_tokens(labels)
    model.token_embedding = nn.Embedding(*vocabulary.weight[used].shape)
    model.token_embedding.load_state_dict({"weight": vocabulary.weight[used]})
    model.visual.to(memory_format=torch.channels_last)
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "embedding" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or "embedding" in name]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
    )
    warm = max(1, steps // 20)

    def pace(step: int) -> float:
        rise = min(1.0, (step + 1) / warm)
        return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, pace)
    model.train()
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[:batch], order[batch:]
        target = pairs[chosen]
        text = model.encode_text(captions.draw(), normalize=True)
        image = model.encode_image(augment(images[chosen], generator), normalize=True)
        cosines = image @ text.T
        classes = target // len(labels.domains)
        pair_loss = functional.cross_entropy(LOGIT_SCALE * cosines[:, :n_pairs], target)
        class_loss = functional.cross_entropy(LOGIT_SCALE * cosines[:, n_pairs:], classes)
        # An edit is fitted on text rows and applied to image features, so an image has to be its own
        # caption in terms of all of them: coefficient one there and zero elsewhere. Ranking alone
        # settles for class plus domain, and of such sums no linear map can forget one and keep the
        # rest. It comes in late: before the captions are told apart it only holds them back.
        late = min(1.0, max(0.0, (step / steps - 0.2) / 0.2))
        ridge = text @ text.T + 0.03 * torch.eye(len(text))
        mix = torch.linalg.solve(ridge, cosines.T).T
        wanted = functional.one_hot(target, len(text)).float()
        excess = (mix - wanted).square().sum(dim=1).mean()
        loss = pair_loss + class_weight * class_loss + late * mix_weight * excess
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % max(1, steps // 28) == 0:
            right = float((cosines[:, n_pairs:].argmax(1) == classes).float().mean())
            report(
                f"step {step + 1}/{steps}  pair {pair_loss.item():.3f}  class {class_loss.item():.3f}"
                f"  mix {excess.item():.3f}  batch accuracy {right:.3f}"
            )
    with torch.no_grad():
        vocabulary.weight[used] = model.token_embedding.weight
    model.token_embedding = vocabulary
    model.eval()


def save(model: open_clip.CLIP, folder: Path) -> None:
    """Write an open_clip directory in half precision; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}
    text = json.dumps(config, indent=2) + "\n"
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    state = {
        name: (t.half() if t.is_floating_point() else t).contiguous()
        for name, t in model.state_dict().items()
    }
    weights = folder / "open_clip_model.safetensors"
    save_file(state, weights)
    # safetensors writes for the owner alone; package data is read by whoever runs the package.
    weights.chmod(0o644)


@torch.no_grad()
def scores(folder: Path, images: Tensor, pairs: Tensor, labels: LabelSpace) -> dict[str, float]:
    """Accuracies of the saved encoder on uint8 `images` (n, 3, 64, 64), as stock open_clip loads it.

    Keys: `plain` (the score template), `plain/<domain>`, `domain prompts` (right class among all
    (class, domain) prompts), `pair` (right class and domain), `paraphrase` (first synonyms), and
    `cosine` (mean of image and own pair prompt).
    """
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()

    def encode(prompts: list[str]) -> Tensor:
        out: Tensor = model.encode_text(tokenizer(prompts), normalize=True)
        return out

    chunks = torch.split(images.float() / 127.5 - 1.0, 256)
    features = torch.cat([model.encode_image(chunk, normalize=True) for chunk in chunks])
    n_domains = len(labels.domains)
    classes, domains = pairs // n_domains, pairs % n_domains
    plain = encode([fill(labels.score_template, c) for c in labels.classes])
    right = ((features @ plain.T).argmax(1) == classes).float()
    result = {"plain": float(right.mean())}
    for index, name in enumerate(labels.domains):
        result[f"plain/{name}"] = float(right[domains == index].mean())
    own = encode([fill(t[0], c) for c in labels.classes for t in labels.domain_templates.values()])
    guess = (features @ own.T).argmax(1)
    result["domain prompts"] = float((guess // n_domains == classes).float().mean())
    result["pair"] = float((guess == pairs).float().mean())
    other = encode([fill(labels.score_template, labels.synonyms[c][0]) for c in labels.classes])
    result["paraphrase"] = float(((features @ other.T).argmax(1) == classes).float().mean())
    result["cosine"] = float((features * own[pairs]).sum(1).mean())
    return result
