"""The rules of a ledger: gates, quorum, roles, the production alias, retention.

A TOML file that people write, canonical JSON that the ledger keeps. A policy is adopted by an event and the newest one
is in force, for everybody who uses the ledger.
"""

import functools
import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from governance.digests import canonical_json, digest_bytes, load_json
from governance.errors import InvalidInputError
from governance.states import MEANINGS, PERMISSIONS, Basis, Role

FORMAT = 1

SCOPES = ("class", "class-in-domain", "domain")
"""What a target forgets: a class everywhere, a class in one domain, a whole domain."""

CANDIDATE = "candidate"
"""Alias of the newest version, which is not for a policy to choose."""

ESSENTIAL = ("policy.adopt", "actor.manage", "request.decide")
"""What somebody must be allowed in every ledger: without it nothing could be repaired, or nothing decided."""

_MAX_QUORUM = 20
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")

_TEMPLATE = """\
# Policy of a ledger. It is in force once it is adopted: governance policy adopt FILE --reason "…"
format = {format}

# A request is approved and a version promoted only if every figure keeps within its limit, on every data set that it
# was measured on. Limits are fractions from 0 to 1. One that is left out here is the default, or none where the line
# is a comment. A figure that has a limit and was measured nowhere fails. An override needs the role of
# "request.override" or "version.override" below and a reason, and is shown for ever.
[gates]
{limits}

# Other limits by what is forgotten ({scopes}) and by legal basis (named below).
# Such a limit takes the place of the general one above. Where one by scope and one by basis apply, and where a request
# has several targets, the strictest counts. What a version as a whole loses is held to the most generous limit of the
# requests that it holds: what was accepted when one of them was approved is lost in every later version.
[gates.scope.domain]
# max_retain_drop = 0.1

[gates.basis.court-order]
# max_forget_accuracy = 0.1
# max_paraphrase = 0.2

# How many different people must approve a request; the largest number that applies counts. Nobody approves what they
# filed or prepared, whatever is written here.
[quorum]
default = {quorum.default}

# By what is forgotten: {scopes}.
[quorum.scope]
# domain = 2

# By legal basis:
{bases}
[quorum.basis]
# court-order = 2

# Who may do what: the roles of which one is needed. Roles: {all_roles}.
[roles]
{roles}

[release]
# Alias in MLflow of the version that is served. It can be chosen as long as no model is registered.
production = "{production}"

# For how many days after the end of a request its private texts are kept, by retention class.
[retention]
default = "{retention.default}"

[retention.days]
{days}
"""


class Limit(NamedTuple):
    """A limit of the policy, and the part of it that sets it."""

    value: float
    rule: str


LIMITS = {
    "max_forget_accuracy": "Share of the forgotten images that may still be recognised, at full strength.",
    "max_retain_drop": "How much accuracy everything else may lose.",
    "max_class_drop": "How much the class may lose that loses most, counting only what is to be kept of it.",
    "max_guard_drop": "How much accuracy other classes may lose that no fit mentions: data sets with the role guard.",
    "max_paraphrase": "Share of the forgotten images that the best other words may find: synonyms, other templates.",
    "max_relearning": "Share of them that five labelled images may bring back, less the false alarms.",
    "max_probe_auc": "AUC up to which a linear probe on the embedding may tell them apart; 0.5 is guessing.",
    "max_prompts_lost": "Share of the retained prompts that may stop finding themselves, as if they were images.",
    "max_turning": "How far images may turn: 1 less the mean cosine of an image before and after.",
    "max_retained_change": "How much the score of a retained prompt may change for any image (certificate).",
    "max_inversion": "Share of the forgotten images that inverting the edit may restore, with the factors in hand.",
    "max_excess": "How far any image may score a forgotten class above its anchor (certificate; classes everywhere).",
    "max_forget_rise": "How much more of a request a version may recognise than its approved report says.",
}
"""Every limit, and what it is about."""

_EXAMPLES = {
    "max_guard_drop": 0.03,
    "max_paraphrase": 0.3,
    "max_relearning": 0.4,
    "max_probe_auc": 0.9,
    "max_prompts_lost": 0.1,
    "max_turning": 0.1,
    "max_retained_change": 0.3,
    "max_inversion": 0.5,
    "max_excess": 0.01,
}
"""Where the default policy has no limit: what is not measured everywhere, or what a linear edit may not bring down."""


@dataclass(frozen=True)
class Gates:
    """Limits as fractions, None for none; those of a scope or a basis take the place of the general ones."""

    max_forget_accuracy: float | None = 0.2
    max_retain_drop: float | None = 0.03
    max_class_drop: float | None = 0.2
    max_guard_drop: float | None = None
    max_paraphrase: float | None = None
    max_relearning: float | None = None
    max_probe_auc: float | None = None
    max_prompts_lost: float | None = None
    max_turning: float | None = None
    max_retained_change: float | None = None
    max_inversion: float | None = None
    max_excess: float | None = None
    max_forget_rise: float | None = 0.1
    scope: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    basis: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def limit(
        self, name: str, scopes: Iterable[str] = (), basis: str | None = None
    ) -> Limit | None:
        """The limit of one request: of each target the strictest of its special ones or the general one, the strictest.

        Args:
            name: which of `LIMITS`.
            scopes: of the targets; without any the general limit.
            basis: of the request.
        """
        general = getattr(self, name)
        default = [] if general is None else [Limit(general, "gates")]
        found = []
        for scope in scopes:
            rules = ((f"gates.scope.{scope}", self.scope.get(scope, {})),
                     (f"gates.basis.{basis}", self.basis.get(str(basis), {})))  # fmt: skip
            found += [Limit(rule[name], place) for place, rule in rules if name in rule] or default
        return min(found or default, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without what has no limit."""
        general = {name: getattr(self, name) for name in LIMITS}
        return {
            **{name: value for name, value in general.items() if value is not None},
            "scope": {scope: dict(rule) for scope, rule in self.scope.items()},
            "basis": {basis: dict(rule) for basis, rule in self.basis.items()},
        }


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
    """The rules in force.

    Attributes:
        roles: for each permission the roles of which one is needed; those of `PERMISSIONS` where it is left out.
        production: alias of the version that is served.
    """

    gates: Gates = field(default_factory=Gates)
    quorum: Quorum = field(default_factory=Quorum)
    retention: Retention = field(default_factory=Retention)
    roles: Mapping[str, frozenset[Role]] = field(default_factory=dict)
    production: str = "champion"

    def __post_init__(self) -> None:
        """Fill in the roles that are left out."""
        object.__setattr__(self, "roles", {**PERMISSIONS, **self.roles})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `parse_policy` reads them."""
        return {
            "format": FORMAT,
            "gates": self.gates.to_dict(),
            "quorum": {
                "default": self.quorum.default,
                "scope": dict(self.quorum.scope),
                "basis": dict(self.quorum.basis),
            },
            "roles": {
                name: sorted(role.value for role in roles) for name, roles in self.roles.items()
            },
            "release": {"production": self.production},
            "retention": {"default": self.retention.default, "days": dict(self.retention.days)},
        }

    def to_json(self) -> str:
        """Canonical JSON, as the ledger keeps it."""
        return canonical_json(self.to_dict())

    @property
    def digest(self) -> str:
        """Digest of `to_json`."""
        return digest_bytes(self.to_json().encode())


def helpless(policy: Policy, people: Iterable[Iterable[Role]]) -> str | None:
    """The first of `ESSENTIAL` that none of these people may do under a policy, None if all is well.

    Args:
        policy: the rules.
        people: roles of everybody who is active.
    """
    held = {role for roles in people for role in roles}
    return next((name for name in ESSENTIAL if not policy.roles[name] & held), None)


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
                found[f"{prefix}{key}"] = ", ".join(value) if isinstance(value, list) else value

    content = policy.to_dict()
    del content["format"]
    add("", content)
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
        limits="\n".join(_limit_lines(rules.gates)),
        all_roles=", ".join(role.value for role in Role),
        roles="\n".join(_role_lines(rules)),
        production=rules.production,
        quorum=rules.quorum,
        retention=rules.retention,
        scopes=", ".join(SCOPES),
        bases=_wrapped(basis.value for basis in Basis),
        days=days,
    )


def _limit_lines(gates: Gates) -> Iterable[str]:
    for name, meaning in LIMITS.items():
        value = getattr(gates, name)
        yield f"# {meaning}"
        yield f"# {name} = {_EXAMPLES[name]}" if value is None else f"{name} = {value}"


def _role_lines(rules: Policy) -> Iterable[str]:
    for name, meaning in MEANINGS.items():
        roles = ", ".join(f'"{role.value}"' for role in Role if role in rules.roles[name])
        yield f"# {meaning}"
        yield f'"{name}" = [{roles}]'


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
    known = {"format", "gates", "quorum", "roles", "release", "retention"}
    content = _table("the policy", content, known)
    if type(content.get("format")) is not int or content["format"] != FORMAT:
        raise InvalidInputError(
            f"the policy has format {_shown(content.get('format'))}; this program reads format {FORMAT}"
        )
    return Policy(
        _gates(content.get("gates", {})),
        _quorum(content.get("quorum", {})),
        _retention(content.get("retention", {})),
        _roles(content.get("roles", {})),
        _production(content.get("release", {})),
    )


@functools.lru_cache(maxsize=64)
def stored_policy(text: str) -> Policy:
    """Policy from the canonical JSON that the ledger keeps; the same text is read once.

    Raises:
        InvalidInputError: something in it is unknown or out of range.
    """
    return parse_policy(load_json(text))


def _gates(content: Any) -> Gates:
    table = _table("[gates]", content, {*LIMITS, "scope", "basis"})
    general = _limits("gates", {name: value for name, value in table.items() if name in LIMITS})
    special: dict[str, dict[str, Mapping[str, float]]] = {}
    for kind, names in (("scope", set(SCOPES)), ("basis", {basis.value for basis in Basis})):
        rules = _table(f"[gates.{kind}]", table.get(kind, {}), names)
        found = {name: _limits(f"gates.{kind}.{name}", rule) for name, rule in rules.items()}
        special[kind] = {name: rule for name, rule in found.items() if rule}
    return Gates(**general, **special)  # type: ignore[arg-type]


def _limits(place: str, content: Any) -> dict[str, float]:
    table = _table(f"[{place}]", content, set(LIMITS))
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InvalidInputError(
                f"{place}.{key} must be a fraction from 0 to 1, not {_shown(value)}"
            )
    return table


def _roles(content: Any) -> dict[str, frozenset[Role]]:
    table = _table("[roles]", content, set(PERMISSIONS))
    known, found = {role.value for role in Role}, {}
    for name, roles in table.items():
        if (
            not isinstance(roles, list)
            or not roles
            or not all(isinstance(role, str) and role in known for role in roles)
        ):
            raise InvalidInputError(
                f"roles.{name} must be a list of at least one of {', '.join(sorted(known))}, not {_shown(roles)}"
            )
        found[name] = frozenset(Role(role) for role in roles)
    return found


def _production(content: Any) -> str:
    name = _table("[release]", content, {"production"}).get("production", Policy.production)
    # MLflow takes v1 for a version and keeps latest for itself.
    reserved = isinstance(name, str) and (
        name.lower() in (CANDIDATE, "latest") or re.fullmatch("v[0-9]+", name.lower())
    )
    if not isinstance(name, str) or not _ALIAS.fullmatch(name) or reserved:
        raise InvalidInputError(
            "release.production must be an alias of letters, digits, - and _ that begins with a letter, and not "
            f"{CANDIDATE}, latest or v1, v2, …; it is {_shown(name)}"
        )
    return name


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
