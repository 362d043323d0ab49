"""The shared benchmark: real embeddings of real images, and what a fit may use of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from governance.errors import NotFoundError
from governance.unlearning.bank import Pair, PromptBank, unit
from governance.unlearning.composition import Edit, compose
from governance.unlearning.evaluation import Samples
from governance.unlearning.labels import LabelSpace, default_domain_templates
from governance.unlearning.projector import Projector
from governance.unlearning.prototypes import PrototypeKind, Prototypes, mean_rows, prototypes_of
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

SCOPES = ("class everywhere", "class in one domain", "whole domain")
SHOTS = 16
_WORDS = {"photo": "a photo", "art_painting": "an art painting"}


@dataclass(frozen=True)
class Shots:
    """Embedded training images, which a fit may use.

    Attributes:
        features: n × d float32, any length.
        pairs: the (class, domain) of each.
    """

    features: Tensor
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Benchmark:
    """What the parts measure on.

    Attributes:
        bank: prompts, mean of the "train" prompts of each pair; scored with one prompt each.
        samples: the test images.
        shots: 16 training images of each (class, domain).
        prompts: unit embeddings of the "train" prompts with their pair.
        logit_scale: of the model.
        synthesised: images made by gradient for each (class, domain), None where the model is absent.
    """

    bank: PromptBank
    samples: Samples
    shots: Shots
    prompts: Shots
    logit_scale: float
    synthesised: Shots | None = None

    def prototypes(self, kind: PrototypeKind, target: Target) -> tuple[Prototypes, ...]:
        """Prototypes as `governance request prepare` makes them for one target.

        Few-shot means of every pair; synthesised ones of what is forgotten only; nothing for text.
        """
        if kind is PrototypeKind.TEXT:
            return ()
        source = self.shots if kind is PrototypeKind.FEW_SHOT else self.synthesised
        assert source is not None
        made = prototypes_of(kind, source.features, source.pairs, {})
        if kind is PrototypeKind.SYNTHESISED:
            made = those(made, lambda pair: target.covers(*pair))
        return (made,)

    def fit(self, target: Target, recipe: Recipe, kind: PrototypeKind) -> Projector:
        """What the package makes of one choice."""
        edit = Edit((target,), recipe, self.prototypes(kind, target))
        return compose(self.bank, [edit]).projector

    @property
    def kinds(self) -> list[PrototypeKind]:
        """Kinds of prototypes that there are."""
        kinds = [PrototypeKind.TEXT, PrototypeKind.SYNTHESISED, PrototypeKind.FEW_SHOT]
        return [k for k in kinds if k is not PrototypeKind.SYNTHESISED or self.synthesised]


def those(chosen: Prototypes, wanted: Callable[[Pair], bool]) -> Prototypes:
    """The prototypes of some pairs."""
    mine = [n for n, pair in enumerate(chosen.pairs) if wanted(pair)]
    pairs = tuple(chosen.pairs[n] for n in mine)
    return replace(chosen, pairs=pairs, rows=chosen.rows[mine])


def targets_of(scope: str, labels: LabelSpace) -> Iterator[Target]:
    """Every choice of a scope."""
    match scope:
        case "class everywhere":
            yield from (Target(label, None) for label in labels.classes)
        case "class in one domain":
            yield from (Target(c, d) for c in labels.classes for d in labels.domains)
        case _:
            yield from (Target(None, domain) for domain in labels.domains)


def read_benchmark(directory: Path | None) -> Benchmark:
    """Read ``embeddings.npz``.

    Raises:
        NotFoundError: it is not there.
    """
    path = _file(directory, "embeddings.npz")
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    classes, domains = (tuple(map(str, arrays[name])) for name in ("classes", "domains"))
    text = unit(torch.from_numpy(arrays["text"]))
    # Some prompts name a domain and no class; they belong to no pair.
    train = (arrays["text_kind"] == "train") & (arrays["text_class"] >= 0)
    place = {str(prompt): row for row, prompt in enumerate(arrays["text_prompt"])}

    def named(label: Any, domain: Any) -> Pair:
        return classes[label], None if domain < 0 else domains[domain]

    prompts = Shots(
        text[torch.from_numpy(train)],
        tuple(map(named, arrays["text_class"][train], arrays["text_domain"][train])),
    )
    pairs, means = mean_rows(prompts.features, prompts.pairs)
    number = {pair: row for row, pair in enumerate(pairs)}
    ordered = [(c, d) for d in (None, *domains) for c in classes]
    words = ["a photo", *(_WORDS.get(domain, f"a {domain}") for domain in domains)]
    scored = [place[f"{word} of a {label}"] for word in words for label in classes]
    templates = {domain: default_domain_templates(domain) for domain in domains}
    bank = PromptBank(
        LabelSpace(classes, domains, domain_templates=templates),
        means[[number[pair] for pair in ordered]],
        text[scored],
    )
    samples = Samples(
        torch.from_numpy(arrays["image"]),
        [classes[index] for index in arrays["label"]],
        [domains[index] for index in arrays["domain"]],
    )
    shots = Shots(
        torch.from_numpy(arrays["few_shot_image"]),
        tuple(map(named, arrays["few_shot_label"], arrays["few_shot_domain"])),
    )
    return Benchmark(bank, samples, shots, prompts, float(arrays["logit_scale"]))


def read_lvis(directory: Path | None) -> PromptBank:
    """The 1,203 LVIS classes as a label space without domains.

    Raises:
        NotFoundError: the files are not there.
    """
    rows = unit(torch.from_numpy(np.load(_file(directory, "lvis_vitb32_text.npy"))))
    names = _file(directory, "lvis_names.txt").read_text(encoding="utf-8").splitlines()
    return PromptBank(LabelSpace(tuple(names)), rows, rows)


def synthesise_all(directory: Path, bank: PromptBank, cache: Path, steps: int | None) -> Shots:
    """Synthesise images of every (class, domain) with the benchmark's own model; finished ones are cached.

    Args:
        directory: of the benchmark.
        bank: the goals are its rows.
        cache: where results are kept.
        steps: gradient steps an image, None for the package's default.
    """
    from governance.cli.context import progress_bar
    from governance.clip.load import load_model
    from governance.clip.source import parse_source
    from governance.clip.synthesise import Synthesis, synthesise

    settings = Synthesis() if steps is None else Synthesis(steps=steps)
    pairs = sorted_pairs(bank)
    numbers = {pair: row for row, pair in enumerate(bank.pairs)}
    goals = bank.rows[[numbers[pair] for pair in pairs]]
    model = load_model(parse_source(str(directory / "clip_real"), None))
    embedded = synthesise(model, goals, settings, cache, progress_bar)
    return Shots(
        embedded.flatten(0, 1), tuple(pair for pair in pairs for _ in range(settings.images))
    )


def sorted_pairs(bank: PromptBank) -> list[Pair]:
    """Every (class, domain) that names a domain, class by class."""
    return [(label, domain) for label in bank.labels.classes for domain in bank.labels.domains]


def _file(directory: Path | None, name: str) -> Path:
    if directory is None or not (directory / name).is_file():
        raise NotFoundError(
            f"this part needs the shared benchmark's {name}; name its directory with --benchmark"
        )
    return directory / name
