"""The rules of a ledger: quorum, gates, retention. A TOML file that people write, canonical JSON that the ledger keeps.

A policy is adopted by an event and the newest one is in force, for everybody who uses the ledger.
"""

import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from governance.digests import canonical_json, digest_bytes
from governance.errors import InvalidInputError
from governance.states import Basis

FORMAT = 1

SCOPES = ("class", "class-in-domain", "domain")
"""What a target forgets: a class everywhere, a class in one domain, a whole domain."""

_MAX_QUORUM = 20

_TEMPLATE = """\
# Policy of a ledger. It is in force once it is adopted: governance policy adopt FILE --reason "…"
format = {format}

# A version is promoted only if it stays within these limits on every data set it was measured on.
[gates]
# Share of images of the forgotten that may still be recognised, where it is forgotten completely.
max_forget_accuracy = {gates.max_forget_accuracy}
# How much accuracy everything else may lose.
max_retain_drop = {gates.max_retain_drop}

# How many different people must approve a request; the largest number that applies counts.
[quorum]
default = {quorum.default}

# By what is forgotten: {scopes}.
[quorum.scope]
# domain = 2

# By legal basis:
{bases}
[quorum.basis]
# court-order = 2

# For how many days after the end of a request its private texts are kept, by retention class.
[retention]
default = "{retention.default}"

[retention.days]
{days}
"""


@dataclass(frozen=True)
class Gates:
    """Thresholds of the promotion gates, as fractions."""

    max_forget_accuracy: float = 0.2
    max_retain_drop: float = 0.03


@dataclass(frozen=True)
class Quorum:
    """How many different people must approve; the largest number that applies counts."""

    default: int = 1
    scope: Mapping[str, int] = field(default_factory=dict)
    basis: Mapping[str, int] = field(default_factory=dict)

    def needed(self, scopes: Iterable[str], basis: str) -> int:
        """Approvals that a request needs."""
        by_scope = [self.scope.get(scope, 0) for scope in scopes]
        return max(self.default, self.basis.get(basis, 0), *by_scope)


@dataclass(frozen=True)
class Retention:
    """For how many days after the end of a request its private texts are kept, by retention class."""

    default: str = "standard"
    days: Mapping[str, int] = field(
        default_factory=lambda: {"short": 30, "standard": 3 * 365, "litigation": 10 * 365}
    )


@dataclass(frozen=True)
class Policy:
    """The rules in force."""

    gates: Gates = field(default_factory=Gates)
    quorum: Quorum = field(default_factory=Quorum)
    retention: Retention = field(default_factory=Retention)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `parse_policy` reads them."""
        return {"format": FORMAT, **asdict(self)}

    def to_json(self) -> str:
        """Canonical JSON, as the ledger keeps it."""
        return canonical_json(self.to_dict())

    @property
    def digest(self) -> str:
        """Digest of `to_json`."""
        return digest_bytes(self.to_json().encode())


def scope_of(label: str | None, domain: str | None) -> str:
    """Which of `SCOPES` a target has."""
    if label is None:
        return "domain"
    return "class" if domain is None else "class-in-domain"


def flat(policy: Policy) -> dict[str, Any]:
    """Every setting by its dotted name."""
    found: dict[str, Any] = {}

    def add(prefix: str, table: Mapping[str, Any]) -> None:
        for key, value in table.items():
            if isinstance(value, Mapping):
                add(f"{prefix}{key}.", value)
            else:
                found[f"{prefix}{key}"] = value

    add("", asdict(policy))
    return found


def changes(before: Policy, after: Policy) -> list[tuple[str, Any, Any]]:
    """Settings that differ, with both values; None where one has no such setting."""
    old, new = flat(before), flat(after)
    return [
        (key, old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)
    ]


def template() -> str:
    """A policy file with the defaults, explained."""
    rules = Policy()
    days = "\n".join(f"{name} = {number}" for name, number in rules.retention.days.items())
    return _TEMPLATE.format(
        format=FORMAT,
        gates=rules.gates,
        quorum=rules.quorum,
        retention=rules.retention,
        scopes=", ".join(SCOPES),
        bases=_wrapped(basis.value for basis in Basis),
        days=days,
    )


def _wrapped(words: Iterable[str]) -> str:
    return "\n".join(
        textwrap.wrap(", ".join(words), 98, initial_indent="# ", subsequent_indent="# ")
    )


def read_policy(path: Path) -> Policy:
    """Policy in a TOML file.

    Raises:
        InvalidInputError: the file cannot be read, or something in it is unknown or out of range.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # TOML and UTF-8 errors are ValueErrors
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    try:
        return parse_policy(content)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def parse_policy(content: Any) -> Policy:
    """Policy from the content of its file, or from the JSON that the ledger keeps.

    Raises:
        InvalidInputError: something in it is unknown or out of range.
    """
    content = _table("the policy", content, {"format", "gates", "quorum", "retention"})
    if type(content.get("format")) is not int or content["format"] != FORMAT:
        raise InvalidInputError(
            f"the policy has format {_shown(content.get('format'))}; this program reads format {FORMAT}"
        )
    return Policy(
        _gates(content.get("gates", {})),
        _quorum(content.get("quorum", {})),
        _retention(content.get("retention", {})),
    )


def _gates(content: Any) -> Gates:
    table = _table("[gates]", content, set(Gates.__dataclass_fields__))
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InvalidInputError(
                f"gates.{key} must be a fraction from 0 to 1, not {_shown(value)}"
            )
    return Gates(**table)


def _quorum(content: Any) -> Quorum:
    table = _table("[quorum]", content, {"default", "scope", "basis"})
    scope = _table("[quorum.scope]", table.get("scope", {}), set(SCOPES))
    basis = _table("[quorum.basis]", table.get("basis", {}), {value.value for value in Basis})
    default = table.get("default", 1)
    for name, number in [("default", default), *scope.items(), *basis.items()]:
        _whole(f"quorum {name}", number, 1, _MAX_QUORUM)
    return Quorum(default, scope, basis)


def _retention(content: Any) -> Retention:
    table = _table("[retention]", content, {"default", "days"})
    known = Retention()
    days = table.get("days", known.days)
    if not isinstance(days, dict):
        raise InvalidInputError("[retention.days] must be a table")
    for name, number in days.items():
        _whole(f"retention.days.{name}", number, 0, 36_500)
    default = table.get("default", known.default)
    if not isinstance(default, str) or default not in days:
        raise InvalidInputError(f"retention.default {_shown(default)} is not in [retention.days]")
    return Retention(default, days)


def _table(name: str, content: Any, known: set[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InvalidInputError(f"{name} must be a table")
    unknown = content.keys() - known
    if unknown:
        raise InvalidInputError(
            f"{name} may hold {', '.join(sorted(known))}, not {sorted(unknown)[0]!r}"
        )
    return content


def _whole(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InvalidInputError(
            f"{name} must be a whole number from {low} to {high}, not {_shown(value)}"
        )


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # an integer of more digits than Python writes out
        return "a number beyond all measure"
