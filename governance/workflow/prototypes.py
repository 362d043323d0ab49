"""Making the prototypes that a preparation asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from governance.clip.encoder import BaseModel
from governance.datasets import DatasetRole, Item, Manifest, choose_shots, pair_words
from governance.errors import InvalidInputError
from governance.ledger.database import Session
from governance.ledger.lookup import every, find_dataset
from governance.ledger.tables import Dataset
from governance.unlearning.bank import Pair, PromptBank
from governance.unlearning.prototypes import (
    PrototypeKind,
    Prototypes,
    Reference,
    measure_reference,
    prototypes_of,
)
from governance.unlearning.targets import Target, covered
from governance.workflow.tools import Tools


@dataclass(frozen=True)
class Wanted:
    """Which prototypes the fit shall have besides the text rows.

    Attributes:
        kinds: `synthesised`, `few-shot`, or both; `text` adds nothing, since text rows always take part.
        dataset: data set of few-shot images, with the role prototypes; None if there is only one.
        shots: k, few-shot images of each (class, domain).
        steps: gradient steps for each synthesised image, the budget; None for the default.
        seed: of the draw of images, or of the synthesis.
        reference: data set of unlabelled images, with that role; None for the only one there is, if there is one.
    """

    kinds: tuple[PrototypeKind, ...] = (PrototypeKind.TEXT,)
    dataset: str | None = None
    shots: int = 16
    steps: int | None = None
    seed: int = 0
    reference: str | None = None


@dataclass(frozen=True)
class ImageSet:
    """A data set that a fit uses, read out of the ledger, free of its session."""

    name: str
    digest: str
    location: Path
    items: tuple[Item, ...]


def read_shots(session: Session, wanted: Wanted, scored: Sequence[Item]) -> ImageSet | None:
    """The data set that few-shot prototypes come from, None if none are wanted.

    Args:
        session: where to read.
        wanted: what the preparation asks for.
        scored: images that it is measured on; none of them may be a prototype.

    Raises:
        NotFoundError: there is no such data set.
        InvalidInputError: it has another role, or shares an image with the scored ones.
    """
    if PrototypeKind.FEW_SHOT not in wanted.kinds:
        return None
    dataset: Dataset = find_dataset(session, wanted.dataset, DatasetRole.PROTOTYPES)
    items = Manifest.from_json(dataset.manifest).items
    shared = {item.digest for item in items} & {item.digest for item in scored}
    if shared:
        path = next(item.path for item in items if item.digest in shared)
        raise InvalidInputError(
            f"{len(shared)} image(s) of the prototypes in {dataset.name!r} are also scored, the first is {path}; an "
            "image must not be in both"
        )
    return ImageSet(dataset.name, dataset.digest, Path(dataset.location), items)


def read_reference(session: Session, name: str | None) -> ImageSet | None:
    """The data set of unlabelled images that a fit may use, None without any.

    Raises:
        NotFoundError: there is no data set of that name.
        InvalidInputError: it has another role, or there are several and none is named.
    """
    if name is None and not any(
        dataset.role == DatasetRole.REFERENCE for dataset in every(session, Dataset)
    ):
        return None
    dataset: Dataset = find_dataset(session, name, DatasetRole.REFERENCE)
    items = Manifest.from_json(dataset.manifest).items
    return ImageSet(dataset.name, dataset.digest, Path(dataset.location), items)


def make_reference(tools: Tools, base: BaseModel, images: ImageSet | None) -> Reference | None:
    """Mean and second moment of unlabelled images; nothing else of them is kept."""
    if images is None:
        return None
    features = tools.encoder.features(
        base, images.digest, images.location, images.items, tools.meter
    )
    settings = {
        "dataset": images.name,
        "dataset_digest": images.digest,
        "images": len(images.items),
    }
    return measure_reference(features, settings)


def make_prototypes(
    tools: Tools,
    base: BaseModel,
    bank: PromptBank,
    targets: Sequence[Target],
    wanted: Wanted,
    shots: ImageSet | None,
) -> tuple[Prototypes, ...]:
    """Make what `wanted` asks for: synthesise, or encode the chosen images.

    Raises:
        InvalidInputError: too few images, an image outside the label space, or a model without gradients.
    """
    made = []
    if PrototypeKind.SYNTHESISED in wanted.kinds:
        made.append(_synthesised(tools, base, bank, targets, wanted))
    if shots is not None:
        made.append(_few_shot(tools, base, bank, targets, wanted, shots))
    return tuple(made)


def _synthesised(
    tools: Tools, base: BaseModel, bank: PromptBank, targets: Sequence[Target], wanted: Wanted
) -> Prototypes:
    """Prototypes of what is forgotten, in each domain that the label space names."""
    from governance.clip.synthesise import Synthesis

    chosen = {"seed": wanted.seed} | ({} if wanted.steps is None else {"steps": wanted.steps})
    settings = Synthesis(**chosen)
    rows = [
        number
        for number, (label, domain) in enumerate(bank.pairs)
        if covered(targets, label, domain) and (domain is not None or not bank.labels.domains)
    ]
    embedded = tools.encoder.synthesise(base, bank.rows[rows], settings, tools.meter)
    pairs = [bank.pairs[row] for row in rows for _ in range(settings.images)]
    kind = PrototypeKind.SYNTHESISED
    return prototypes_of(kind, embedded.flatten(0, 1), pairs, settings.to_dict())


def _few_shot(
    tools: Tools,
    base: BaseModel,
    bank: PromptBank,
    targets: Sequence[Target],
    wanted: Wanted,
    shots: ImageSet,
) -> Prototypes:
    known = set(bank.pairs)
    for item in shots.items:
        if (item.label, item.domain) not in known:
            raise InvalidInputError(
                f"data set {shots.name!r} has images of {pair_words(item.label, item.domain)}, which the "
                "model's label space does not name"
            )
    chosen = choose_shots(shots.items, wanted.shots, wanted.seed)
    for target in targets:
        if not any(target.covers(*pair) for pair in chosen):
            raise InvalidInputError(
                f"data set {shots.name!r} has no image of what is to be forgotten: {target.describe()}"
            )
    items = [item for drawn in chosen.values() for item in drawn]
    pairs: list[Pair] = [(item.label, item.domain) for item in items]
    subset = Manifest(tuple(items)).digest
    features = tools.encoder.features(base, subset, shots.location, items, tools.meter)
    settings = {
        "dataset": shots.name,
        "dataset_digest": shots.digest,
        "shots": wanted.shots,
        "seed": wanted.seed,
        "images": subset,
    }
    return prototypes_of(PrototypeKind.FEW_SHOT, features, pairs, settings)
