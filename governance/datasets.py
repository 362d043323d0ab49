"""Data sets of labelled images: reading a directory or CSV into a manifest of digests.

The images stay where they are; the manifest says exactly which bytes were measured.
"""

import csv
import io
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from governance.digests import canonical_json, digest_bytes, digest_json, load_json
from governance.errors import InvalidInputError, NotFoundError
from governance.progress import Meter, silent

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


class DatasetRole(StrEnum):
    """What a data set may be used for."""

    EVAL = "eval"
    PROTOTYPES = "prototypes"
    GUARD = "guard"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Item:
    """One image.

    Attributes:
        path: relative to the data set's root, with forward slashes.
        label: class name.
        domain: domain name, or None.
        digest: of the file's bytes.
    """

    path: str
    label: str
    domain: str | None
    digest: str


@dataclass(frozen=True)
class Manifest:
    """Exactly which images a data set holds.

    Attributes:
        items: ordered by path.
        skipped: paths that could not be read and were left out on demand.
    """

    items: tuple[Item, ...]
    skipped: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The manifest as plain JSON values."""
        return {
            "items": [[item.path, item.label, item.domain, item.digest] for item in self.items],
            "skipped": list(self.skipped),
        }

    def to_json(self) -> str:
        """The manifest as canonical JSON."""
        return canonical_json(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Inverse of `to_json`."""
        value = load_json(text)
        return cls(tuple(Item(*item) for item in value["items"]), tuple(value["skipped"]))

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return digest_json(self.to_dict())

    def counts(self) -> Counter[tuple[str, str | None]]:
        """Number of images of each (class, domain)."""
        return Counter((item.label, item.domain) for item in self.items)


def choose_shots(
    items: Sequence[Item], shots: int, seed: int
) -> dict[tuple[str, str | None], list[Item]]:
    """Draw the images that few-shot prototypes are made of; the same seed draws the same images.

    Args:
        items: images of a data set.
        shots: k, images of each (class, domain).
        seed: of the draw; each pair has its own stream, so the draw of one does not depend on the others.

    Raises:
        InvalidInputError: too few images of a pair for k shots.
    """
    if shots < 1:
        raise InvalidInputError(f"shots must be at least 1, not {shots}")
    by_pair: dict[tuple[str, str | None], list[Item]] = defaultdict(list)
    for item in items:
        by_pair[item.label, item.domain].append(item)
    poorest = min(by_pair, key=lambda pair: len(by_pair[pair]))
    if len(by_pair[poorest]) < shots:
        raise InvalidInputError(
            f"the data set has {len(by_pair[poorest])} image(s) of {pair_words(*poorest)}, too few for "
            f"{shots} shots; lower --shots or add images"
        )
    return {
        pair: random.Random(f"{seed} {pair}").sample(sorted(found, key=lambda i: i.path), shots)
        for pair, found in sorted(by_pair.items(), key=lambda entry: str(entry[0]))
    }


def scan(
    location: Path,
    skip_unreadable: bool = False,
    meter: Meter = silent,
    labelled: bool = True,
) -> Manifest:
    """Read every image once, take its digest and make sure that it decodes.

    Args:
        location: a directory ``domain/class/*.jpg`` or ``class/*.jpg``, or a CSV file with the columns ``path``,
            ``class`` and optionally ``domain``, its paths relative to it.
        skip_unreadable: leave images out that cannot be decoded, instead of refusing.
        meter: shows progress.
        labelled: whether directories name classes; otherwise images may lie anywhere and have no class.

    Raises:
        NotFoundError: the place does not exist.
        InvalidInputError: no images, an unknown layout, an unreadable image.
    """
    if not location.exists():
        raise NotFoundError(f"the data set {location} does not exist")
    root = root_of(location)
    entries = sorted(
        _csv_entries(location) if location.is_file() else _tree_entries(location, labelled)
    )
    if not labelled:
        entries = [(path, "", "") for path, _, _ in entries]
    if not entries:
        raise InvalidInputError(
            f"{location} holds no images; expected domain/class/*.jpg, class/*.jpg or a CSV of "
            "path,class,domain"
        )
    items, skipped = [], []
    with meter("checking images", len(entries)) as done:
        for path, label, domain in entries:
            problem, digest = _check_image(root / path)
            if problem is None:
                items.append(Item(path, label, domain or None, digest))
            elif skip_unreadable:
                skipped.append(path)
            else:
                raise InvalidInputError(
                    f"image {root / path} cannot be read ({problem}); repair or remove it, or "
                    "leave such images out with --skip-unreadable"
                )
            done(1)
    if not items:
        raise InvalidInputError(f"none of the {len(skipped)} images of {location} can be read")
    return Manifest(tuple(items), tuple(skipped))


def root_of(location: Path) -> Path:
    """The directory that the manifest's paths are relative to."""
    return location.parent if location.is_file() else location


def files(location: Path, items: Sequence[Item]) -> list[tuple[Path, str]]:
    """Path and digest of each image.

    Raises:
        NotFoundError: the place is gone.
    """
    if not location.exists():
        raise NotFoundError(f"the data set's place {location} is gone; put it back to go on")
    root = root_of(location)
    return [(root / item.path, item.digest) for item in items]


def _tree_entries(root: Path, labelled: bool) -> Iterator[tuple[str, str, str]]:
    """(path, class, domain or empty) of every image in a directory; of unlabelled ones the path alone."""
    depths = set()
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or path.suffix.lower() not in SUFFIXES or path.is_dir():
            continue
        if not _is_text(relative.as_posix()):
            raise InvalidInputError(f"the file name {path!s:.200} is not valid UTF-8; rename it")
        if not labelled:
            yield relative.as_posix(), "", ""
            continue
        depths.add(len(relative.parts))
        if len(depths) > 1 or not depths <= {2, 3}:
            raise InvalidInputError(
                f"{path} does not fit: images lie either all at domain/class/image or all at "
                f"class/image below {root}"
            )
        *domain, label, _ = relative.parts
        yield relative.as_posix(), label, domain[0] if domain else ""


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv_entries(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        columns = list(rows.fieldnames or ())
        known = {"path", "class", "domain"}
        if not {"path", "class"} <= set(columns) <= known or len(set(columns)) < len(columns):
            raise InvalidInputError(
                f"{path} must be a CSV with the columns path, class and optionally domain"
            )
        seen: set[str] = set()
        for row in rows:
            name, label, domain = (row.get(key) or "" for key in ("path", "class", "domain"))
            if None in row:
                raise InvalidInputError(f"{path}, line {rows.line_num}: too many fields")
            if not name or not label:
                raise InvalidInputError(f"{path}, line {rows.line_num}: path and class are needed")
            name = PurePosixPath(name).as_posix()  # ./a.png and a.png are the same image
            if name in seen:
                raise InvalidInputError(f"{path}, line {rows.line_num}: {name} stands twice")
            seen.add(name)
            yield name, label, domain
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} cannot be read as CSV: {error}") from error


def _check_image(path: Path) -> tuple[str | None, str]:
    """Problem (None if it decodes) and digest of one file."""
    from PIL import Image, UnidentifiedImageError  # help pages read this module too

    try:
        data = path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    except UnidentifiedImageError:
        return "it is not an image of a known format", ""
    except Exception as error:  # decoders raise many types on damaged files
        return str(error).splitlines()[0] if str(error) else type(error).__name__, ""
    return None, digest_bytes(data)


def pair_words(label: str, domain: str | None) -> str:
    """A (class, domain) in words for people."""
    return label if domain is None else f"{label} in {domain}"
