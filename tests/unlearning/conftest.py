"""Builders that the tests of the engine share, as fixtures so that any import mode finds them."""

from collections.abc import Callable, Sequence

import pytest
import torch

from governance.unlearning.bank import Pair, PromptBank, unit
from governance.unlearning.labels import LabelSpace, default_domain_templates
from governance.unlearning.prototypes import PrototypeKind, Prototypes

BankMaker = Callable[..., PromptBank]
PrototypeMaker = Callable[..., Prototypes]


def _make_bank(
    classes: tuple[str, ...] = ("dog", "cat", "horse", "house", "guitar"),
    domains: tuple[str, ...] = ("photo", "cartoon", "sketch"),
    dimension: int = 40,
    seed: int = 0,
    noise: float = 0.3,
) -> PromptBank:
    """A bank shaped like a real one: each row is its class plus its domain plus something of its own.

    `noise` 0 makes the rows exactly additive, and so linearly dependent.
    """
    generator = torch.Generator().manual_seed(seed)

    def directions(count: int) -> torch.Tensor:
        return unit(torch.randn(count, dimension, generator=generator, dtype=torch.float64))

    class_part = directions(len(classes)).repeat(len(domains) + 1, 1)
    styles = torch.cat([torch.zeros(1, dimension, dtype=torch.float64), directions(len(domains))])
    domain_part = styles.repeat_interleave(len(classes), dim=0)
    rows = unit(class_part + 0.6 * domain_part + noise * directions(len(class_part)))
    scores = unit(rows + 0.5 * noise * directions(len(rows)))
    templates = {domain: default_domain_templates(domain) for domain in domains}
    return PromptBank(LabelSpace(classes, domains, domain_templates=templates), rows, scores)


@pytest.fixture(scope="session")
def make_bank() -> BankMaker:
    """Banks shaped like real ones: `make_bank(classes, domains, dimension, seed, noise)`."""
    return _make_bank


@pytest.fixture(scope="session")
def bank() -> PromptBank:
    """Five classes in three domains, d = 40."""
    return _make_bank()


def _make_prototypes(
    bank: PromptBank, pairs: Sequence[Pair], seed: int = 0, gap: float = 0.5
) -> Prototypes:
    """Prototypes near the text rows of `pairs`, but on the images' side of the modality gap."""
    generator = torch.Generator().manual_seed(seed)
    away = torch.randn(1 + len(pairs), bank.dimension, generator=generator, dtype=torch.float64)
    near = bank.rows[[bank.pairs.index(pair) for pair in pairs]]
    rows = unit(near + gap * unit(away[:1]) + 0.5 * gap * unit(away[1:]))
    return Prototypes(PrototypeKind.FEW_SHOT, tuple(pairs), rows, {"seed": seed})


@pytest.fixture(scope="session")
def make_prototypes() -> PrototypeMaker:
    """Stand-ins for encoded images: `make_prototypes(bank, pairs, seed, gap)`."""
    return _make_prototypes
