"""Random label spaces of every shape that a theorem must survive."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.labels import LabelSpace
from governance.unlearning.targets import Target

SHAPES = ("roomy", "square", "crowded", "cone", "duplicated", "near-parallel", "copied domain")


@dataclass(frozen=True)
class Space:
    """A bank and what is forgotten of it, everywhere.

    Attributes:
        shape: one of `SHAPES`.
        bank: C classes in at most one domain, d dimensions.
        chosen: class numbers that are forgotten; at least one other is left.
        seed: for whatever else is random.
    """

    shape: str
    bank: PromptBank
    chosen: tuple[int, ...]
    seed: int

    def __repr__(self) -> str:
        size = f"{len(self.bank.labels.classes)} classes, d = {self.bank.dimension}"
        return f"<{self.shape}: {size}, {self.chosen} forgotten, seed {self.seed}>"

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(Target(self.bank.labels.classes[n], None) for n in self.chosen)

    @property
    def lost(self) -> list[int]:
        """Numbers of the forgotten rows."""
        size = len(self.bank.labels.classes)
        return [n for n in range(len(self.bank.pairs)) if n % size in self.chosen]

    @property
    def kept(self) -> list[int]:
        return [n for n in range(len(self.bank.pairs)) if n not in self.lost]

    def images(self, count: int = 50) -> Tensor:
        """Random unit rows, about a third of them near the forgotten texts."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        rows = torch.randn(count, self.bank.dimension, generator=generator, dtype=torch.float64)
        near = self.bank.rows[self.lost]
        rows[::3] = near[torch.arange(len(rows[::3])) % len(near)] + 0.3 * unit(rows[::3])
        return unit(rows)


@st.composite
def spaces(draw: st.DrawFn, shapes: tuple[str, ...] = SHAPES) -> Space:
    """Spaces of some shapes: C < d, C = d, C > d, texts in a narrow cone, repeated, or all but repeated."""
    shape, seed = draw(st.sampled_from(shapes)), draw(st.integers(0, 2**32))
    generator = torch.Generator().manual_seed(seed)
    dimension = draw(st.integers(6, 24))
    classes = {"square": dimension, "crowded": 2 * dimension + 1}.get(shape, dimension // 2)

    def directions(count: int) -> Tensor:
        return unit(torch.randn(count, dimension, generator=generator, dtype=torch.float64))

    rows = directions(classes)
    domains: tuple[str, ...] = ()
    match shape:
        case "cone":
            rows = unit(1.5 * directions(1) + rows)
        case "duplicated":
            rows = torch.cat([rows, rows])
        case "near-parallel":
            size = 10.0 ** draw(st.integers(-9, -2))
            rows = torch.cat([rows, unit(rows + size * directions(classes))])
        case "copied domain":  # as where no prompt names the domain
            rows, domains = torch.cat([rows, rows]), ("sketch",)
    count = len(rows) // (1 + len(domains))
    labels = LabelSpace(
        tuple(f"c{n}" for n in range(count)),
        domains,
        domain_templates=dict.fromkeys(domains, ("a {class}",)),
    )
    most = st.integers(1, max(1, (2 * count) // 3))
    chosen = draw(st.permutations(range(count)))[: draw(most)]
    return Space(shape, PromptBank(labels, rows, rows), tuple(sorted(chosen)), seed)
