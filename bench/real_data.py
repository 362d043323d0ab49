"""Embeddings of genuine CLIP models: one ``.npz`` a data set, read, checked and made into what a fit takes."""

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data import Shots
from governance.errors import InvalidInputError, NotFoundError
from governance.unlearning.bank import Pair, PromptBank, unit
from governance.unlearning.labels import MAX_NAME, SCORE_TEMPLATE, LabelSpace
from governance.unlearning.prototypes import PrototypeKind, Prototypes
from governance.unlearning.prototypes import prototypes_of as few_shot_of

LOGIT_SCALE = 100.0
"""Of every CLIP model whose embeddings these are."""

_AXES: Mapping[str, tuple[str, ...]] = {
    "image": ("images", "width"),
    "label": ("images",),
    "class_name": ("classes",),
    "text": ("classes", "width"),
    "text_alt": ("classes", "width"),
    "domain": ("images",),
    "domain_name": ("domains",),
    "shot_image": ("shots", "width"),
    "shot_label": ("shots",),
    "shot_domain": ("shots",),
}
"""The axes of each array; those of one name have one length. Only `image` must be there."""

_INDICES = {
    "label": "class_name",
    "shot_label": "class_name",
    "domain": "domain_name",
    "shot_domain": "domain_name",
}
"""Arrays of row numbers, and the names that they number."""

_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for a file that is not an archive of arrays, or only half of one."""


@dataclass(frozen=True)
class Classes:
    """What an edit can be fitted to and scored with.

    Attributes:
        names: C distinct class names.
        text: C × d, float64, unit length: one plain prompt a class.
        label: class number of each image.
        other_text: C × d, another phrasing of each class that no fit sees; None without one.
    """

    names: tuple[str, ...]
    text: Tensor
    label: Tensor
    other_text: Tensor | None


@dataclass(frozen=True)
class Domains:
    """The domain of each image.

    Attributes:
        names: distinct domain names.
        domain: domain number of each image.
        shot: domain number of each few-shot image; None without any.
    """

    names: tuple[str, ...]
    domain: Tensor
    shot: Tensor | None


@dataclass(frozen=True)
class Labelled:
    """Few-shot images, never among those that are scored.

    Attributes:
        image: s × d, float64, unit length.
        label: class number of each.
    """

    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class RealData:
    """One data set.

    Attributes:
        name: of the file, without its suffix.
        image: n × d, float64, unit length.
        only_images: whether there is nothing else: how far images turn is measured on those.
        classes: labels, names and texts; None for images that no case can use.
        domains: None for images of one domain.
        shots: None without few-shot images.
    """

    name: str
    image: Tensor
    only_images: bool = False
    classes: Classes | None = None
    domains: Domains | None = None
    shots: Labelled | None = None

    @cached_property
    def labels(self) -> Classes:
        """The classes of a data set that has some."""
        assert self.classes is not None
        return self.classes

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """(class, domain) of each few-shot image; none where their domains are unknown."""
        if self.shots is None or self.domains is None or self.domains.shot is None:
            return ()
        names, places = self.labels.names, self.domains.names
        numbers = zip(self.shots.label.tolist(), self.domains.shot.tolist(), strict=True)
        return tuple((names[label], places[domain]) for label, domain in numbers)

    def shots_of(self, with_domains: bool) -> Shots | None:
        """The few-shot images as a fit takes them, with their domains or without."""
        if self.shots is None or (with_domains and not self.pairs):
            return None
        plain = ((self.labels.names[label], None) for label in self.shots.label.tolist())
        return Shots(self.shots.image, self.pairs if with_domains else tuple(plain))


def bank_of(data: RealData, with_domains: bool) -> PromptBank:
    """The data set's label space with its texts.

    No text names a domain, so every domain has the plain texts again.
    """
    labels = data.labels
    domains = data.domains.names if with_domains and data.domains is not None else ()
    templates = dict.fromkeys(domains, (SCORE_TEMPLATE,))
    space = LabelSpace(labels.names, domains, domain_templates=templates)
    rows = labels.text.repeat(1 + len(domains), 1)
    return PromptBank(space, rows, rows)


def prototypes_of(data: RealData, with_domains: bool) -> tuple[Prototypes, ...]:
    """Few-shot means as `governance request prepare` makes them; none without few-shot images."""
    shots = data.shots_of(with_domains)
    if shots is None:
        return ()
    return (few_shot_of(PrototypeKind.FEW_SHOT, shots.features, shots.pairs, {}),)


def read_all(directory: Path | None) -> list[RealData]:
    """Every data set of ``DIR/real``, by name.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: a file is not of the form, see `read_real`.
    """
    paths = sorted((directory / "real").glob("*.npz")) if directory is not None else []
    if not paths:
        raise NotFoundError(
            "this part needs the shared benchmark's real/*.npz; name its directory with --benchmark"
        )
    return [read_real(path) for path in paths]


def largest(everything: Iterable[RealData]) -> RealData:
    """The data set with the most classes.

    Raises:
        NotFoundError: none has any.
    """
    labelled = [data for data in everything if data.classes is not None]
    if not labelled:
        raise NotFoundError("this part needs labelled images in the shared benchmark's real/*.npz")
    return max(labelled, key=lambda data: len(data.labels.names))


def read_real(path: Path) -> RealData:
    """One data set; keys that are not of the form are left alone.

    Raises:
        InvalidInputError: the file cannot be read, or its arrays contradict each other.
    """
    try:
        arrays = _arrays(path)
        _check(arrays)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    rows = {name: unit(torch.from_numpy(a)) for name, a in arrays.items() if name in _ROWS}
    numbers = {name: torch.from_numpy(arrays[name].astype(np.int64)) for name in _numbered(arrays)}
    image, text = rows["image"], rows.get("text")
    classes = domains = shots = None
    if text is not None and "label" in numbers:
        names = distinct_names(arrays["class_name"], "class")
        classes = Classes(names, text, numbers["label"], rows.get("text_alt"))
        if "domain" in numbers:
            places = distinct_names(arrays["domain_name"], "domain")
            domains = Domains(places, numbers["domain"], numbers.get("shot_domain"))
        if "shot_image" in rows and "shot_label" in numbers:
            shots = Labelled(rows["shot_image"], numbers["shot_label"])
    return RealData(path.stem, image, set(arrays) == {"image"}, classes, domains, shots)


_ROWS = frozenset(name for name, axes in _AXES.items() if axes[1:])


def _numbered(arrays: Mapping[str, Any]) -> list[str]:
    """The arrays of row numbers whose names are there too."""
    return [name for name, names in _INDICES.items() if name in arrays and names in arrays]


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:  # NumPy leaves half an archive open
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise InvalidInputError("it is one array, not an archive of several (.npz)")
            return {name: stored[name] for name in stored.files if name in _AXES}
    except _UNREADABLE as error:
        raise InvalidInputError(
            f"it cannot be read as an archive of arrays (.npz): {error}"
        ) from error


def _check(arrays: dict[str, Any]) -> None:
    """Shapes, kinds and ranges; rows of embeddings become float64."""
    if "image" not in arrays:
        raise InvalidInputError("it has no array `image`")
    lengths: dict[str, tuple[int, str]] = {}
    for name, axes in _AXES.items():
        if name not in arrays:
            continue
        array = arrays[name]
        if array.ndim != len(axes) or not array.size:
            raise InvalidInputError(
                f"`{name}` has the shape {array.shape} instead of {' × '.join(axes)}"
            )
        for axis, length in zip(axes, array.shape, strict=True):
            known, source = lengths.setdefault(axis, (length, name))
            if length != known:
                raise InvalidInputError(
                    f"`{name}` has {length} {_said(axis)}, but `{source}` has {known}"
                )
        if name in _ROWS:
            arrays[name] = _checked_rows(name, array)
    if "label" in arrays and len(arrays.get("class_name", ())) == 1:
        raise InvalidInputError("it needs at least two classes")
    for name in _numbered(arrays):
        _check_numbers(name, arrays[name], len(arrays[_INDICES[name]]))


def _said(axis: str) -> str:
    return "columns" if axis == "width" else axis


def _checked_rows(name: str, array: Any) -> Any:
    if not np.issubdtype(array.dtype, np.floating):
        raise InvalidInputError(f"`{name}` holds {array.dtype} instead of floating-point numbers")
    rows = array.astype(np.float64)
    if not np.isfinite(rows).all():
        raise InvalidInputError(f"`{name}` holds numbers that are not finite")
    if not rows.any(axis=1).all():
        raise InvalidInputError(f"`{name}` holds a row of zeros, which has no direction")
    return rows


def _check_numbers(name: str, array: Any, count: int) -> None:
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidInputError(f"`{name}` holds {array.dtype} instead of whole numbers")
    if array.min() < 0 or array.max() >= count:
        raise InvalidInputError(
            f"`{name}` holds {array.min()} to {array.max()}, but `{_INDICES[name]}` has {count} names"
        )


def distinct_names(names: Iterable[Any], what: str) -> tuple[str, ...]:
    """Names that a label space accepts: printable, not too long, each once.

    ImageNet has two classes "missile": of a name that stands twice each becomes ``missile (744)``, with its number.

    Args:
        names: as the file says them.
        what: stands in for an empty name.
    """
    texts = [_printable(name) or what for name in names]
    found = _numbered_names(texts, [count > 1 for count in _counts(texts)])
    if len(set(found)) < len(found):  # "missile (744)" itself was there as well
        found = _numbered_names(texts, [True] * len(texts))
    return found


def _printable(name: Any) -> str:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words[: MAX_NAME - len(" (1000000)")].strip()


def _counts(texts: Sequence[str]) -> list[int]:
    found = Counter(texts)
    return [found[text] for text in texts]


def _numbered_names(texts: Sequence[str], numbered: Sequence[bool]) -> tuple[str, ...]:
    chosen = zip(texts, numbered, strict=True)
    return tuple(f"{text} ({n})" if more else text for n, (text, more) in enumerate(chosen))
