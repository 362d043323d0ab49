"""What a request asks to forget: a class everywhere, a class in one domain, a whole domain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from governance.errors import InvalidInputError
from governance.unlearning.labels import LabelSpace


@dataclass(frozen=True)
class Target:
    """One thing to forget; the three scopes of arXiv 2512.14113.

    Attributes:
        label: class name, or None for every class of `domain`.
        domain: domain name, or None for everywhere.
    """

    label: str | None
    domain: str | None

    def __post_init__(self) -> None:
        """Refuse a target that names nothing.

        Raises:
            InvalidInputError: neither a class nor a domain.
        """
        if self.label is None and self.domain is None:
            raise InvalidInputError("a target names a class, a domain, or both")

    def covers(self, label: str, domain: str | None) -> bool:
        """Whether the pair belongs to this target; `domain` None is the row that names no domain."""
        return self.label in (None, label) and self.domain in (None, domain)

    def describe(self) -> str:
        """Words for people: ``dog everywhere``, ``dog in sketch``, ``everything in sketch``."""
        return (
            f"{self.label or 'everything'} {f'in {self.domain}' if self.domain else 'everywhere'}"
        )

    def to_dict(self) -> dict[str, str | None]:
        """The target as plain JSON values."""
        return {"class": self.label, "domain": self.domain}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Target":
        """Inverse of `to_dict`."""
        return cls(value["class"], value["domain"])


def make_targets(classes: Sequence[str], domains: Sequence[str]) -> tuple[Target, ...]:
    """Targets from the flags ``--forget`` and ``--domain``, every class in every domain named.

    Raises:
        InvalidInputError: neither is given.
    """
    if not classes and not domains:
        raise InvalidInputError(
            "nothing to forget: name a class with --forget, a domain with --domain, or both"
        )
    targets = [Target(c, d) for c in classes or (None,) for d in domains or (None,)]
    return tuple(dict.fromkeys(targets))


def describe_all(targets: Iterable[Target]) -> str:
    """Words for several targets."""
    return "; ".join(target.describe() for target in targets)


def covered(targets: Iterable[Target], label: str, domain: str | None) -> bool:
    """Whether any of `targets` covers the pair."""
    return any(target.covers(label, domain) for target in targets)


def covering(label: str, domain: str | None) -> tuple[tuple[str | None, str | None], ...]:
    """Class and domain of every target that covers the pair."""
    return (label, domain), (label, None), (None, domain)


class Cover:
    """Several targets, to be asked about many pairs: a thousand targets take no longer than one."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self._named = {(target.label, target.domain) for target in targets}

    def covers(self, label: str, domain: str | None) -> bool:
        """Whether any of the targets covers the pair."""
        return not self._named.isdisjoint(covering(label, domain))


def check_targets(targets: Sequence[Target], labels: LabelSpace) -> None:
    """Make sure that the targets exist and leave something to retain.

    Raises:
        InvalidInputError: a class or domain is not in the label space, or nothing would remain.
    """
    for target in targets:
        if target.label is not None and target.label not in labels.classes:
            raise InvalidInputError(
                f"class {target.label!r} is not in the model's label space: "
                f"{_listed(labels.classes)}"
            )
        if target.domain is not None and target.domain not in labels.domains:
            known = _listed(labels.domains) if labels.domains else "it names no domain"
            raise InvalidInputError(
                f"domain {target.domain!r} is not in the model's label space: {known}"
            )
    places, cover = labels.domains or (None,), Cover(targets)
    if all(cover.covers(c, d) for c in labels.classes for d in places):
        raise InvalidInputError(
            "this would forget everything the model can recognise and leave nothing to retain; "
            "take the model out of service instead"
        )


def _listed(names: Sequence[str], limit: int = 12) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, … ({len(names)} in all)"
