"""Policies: files that people write, and the one canonical form that the ledger keeps."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.digests import load_json
from governance.errors import InvalidInputError
from governance.policy import (
    ESSENTIAL,
    LIMITS,
    SCOPES,
    Gates,
    Policy,
    Quorum,
    Retention,
    changes,
    helpless,
    parse_policy,
    read_policy,
    scope_of,
    template,
)
from governance.states import MEANINGS, PERMISSIONS, Basis, Role


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_template_is_the_default_policy(tmp_path: Path) -> None:
    assert read_policy(written(tmp_path / "policy.toml", template())) == Policy()


def test_everything_commented_out_in_the_template_can_be_put_in_force(tmp_path: Path) -> None:
    lines = [
        line.removeprefix("# ") if re.fullmatch(r"# [a-z_-]+ = [0-9.]+", line) else line
        for line in template().splitlines()
    ]
    rules = read_policy(written(tmp_path / "policy.toml", "\n".join(lines)))
    assert all(getattr(rules.gates, name) is not None for name in LIMITS)
    assert rules.gates.scope == {"domain": {"max_retain_drop": 0.1}}
    assert rules.gates.basis == {"court-order": {"max_forget_accuracy": 0.1, "max_paraphrase": 0.2}}
    assert rules.quorum == Quorum(1, {"domain": 2}, {"court-order": 2})
    assert all(basis.value in template() for basis in Basis)
    assert all(scope in template() for scope in SCOPES)
    assert max(map(len, template().splitlines())) <= 120


SPECIAL = st.dictionaries(st.sampled_from(list(LIMITS)), st.floats(0, 1), min_size=1)
ROLES = st.dictionaries(
    st.sampled_from(list(PERMISSIONS)), st.frozensets(st.sampled_from(list(Role)), min_size=1)
)
POLICIES = st.builds(
    Policy,
    st.builds(
        Gates,
        *[st.floats(0, 1)] * 3,
        *[st.none() | st.floats(0, 1)] * 9,
        st.floats(0, 1),
        st.dictionaries(st.sampled_from(SCOPES), SPECIAL),
        st.dictionaries(st.sampled_from([basis.value for basis in Basis]), SPECIAL),
    ),
    st.builds(
        Quorum,
        st.integers(1, 20),
        st.dictionaries(st.sampled_from(SCOPES), st.integers(1, 20)),
        st.dictionaries(st.sampled_from([basis.value for basis in Basis]), st.integers(1, 20)),
    ),
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 36_500), min_size=1
    ).flatmap(lambda days: st.builds(Retention, st.sampled_from(sorted(days)), st.just(days))),
    ROLES,
    st.sampled_from(["champion", "production", "live-1", "V"]),
)


@given(POLICIES)
def test_what_the_ledger_keeps_is_read_back(policy: Policy) -> None:
    again = parse_policy(load_json(policy.to_json()))
    assert again == policy
    assert again.digest == policy.digest
    assert changes(policy, again) == []


@given(POLICIES, POLICIES)
def test_changes_are_empty_only_between_equal_policies(one: Policy, other: Policy) -> None:
    assert (changes(one, other) == []) == (one == other)


def test_changes_name_the_setting_and_both_values() -> None:
    before = Policy(quorum=Quorum(1, {"domain": 2}))
    after = Policy(Gates(max_retain_drop=0.05), Quorum(1, {}, {"bias": 3}))
    assert changes(before, after) == [
        ("gates.max_retain_drop", 0.03, 0.05),
        ("quorum.scope.domain", 2, None),
        ("quorum.basis.bias", None, 3),
    ]
    after = Policy(
        roles={"request.override": frozenset({Role.APPROVER, Role.ADMIN})}, production="live"
    )
    assert changes(Policy(), after) == [
        ("roles.request.override", "admin", "admin, approver"),
        ("release.production", "champion", "live"),
    ]


@given(st.sets(st.sampled_from(SCOPES), min_size=1), st.sampled_from(list(Basis)), POLICIES)
def test_the_largest_number_that_applies_is_needed(
    scopes: set[str], basis: Basis, policy: Policy
) -> None:
    quorum = policy.quorum
    applying = [
        quorum.default,
        quorum.basis.get(basis, 0),
        *(quorum.scope.get(s, 0) for s in scopes),
    ]
    assert quorum.needed(scopes, basis) == max(applying)


def test_the_scope_of_a_target() -> None:
    assert [scope_of("mug", None), scope_of("mug", "sketch"), scope_of(None, "sketch")] == list(
        SCOPES
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the policy has format None; this program reads format 1"),
        ("format = true", "format True"),
        ("format = 2", "format 2"),
        ("format = 1\nquota = 1", "may hold format, gates, quorum, release, retention, roles, not 'quota'"),
        ("format = 1\ngates = 1", "[gates] must be a table"),
        ("format = 1\n[gates]\nmax_forget_accuracy = 1.1", "must be a fraction from 0 to 1, not 1.1"),
        ("format = 1\n[gates]\nmax_forget_accuracy = nan", "not nan"),
        ("format = 1\n[gates]\nmax_forget_accuracy = true", "not True"),
        ("format = 1\n[gates]\nmax_forgotten = 0.1", "not 'max_forgotten'"),
        ("format = 1\n[gates.scope]\neverything = {}", "[gates.scope] may hold class, class-in-domain, domain"),
        ("format = 1\n[gates.scope]\ndomain = 1", "[gates.scope.domain] must be a table"),
        ("format = 1\n[gates.scope.domain]\nmax_retain = 1", "not 'max_retain'"),
        ("format = 1\n[gates.basis.whim]\nmax_retain_drop = 1", "not 'whim'"),
        (
            "format = 1\n[gates.basis.bias]\nmax_retain_drop = -1",
            "gates.basis.bias.max_retain_drop must be a fraction from 0 to 1, not -1",
        ),
        ("format = 1\n[roles]\n'policy.change' = ['admin']", "not 'policy.change'"),
        ("format = 1\n[roles]\n'policy.adopt' = []", "roles.policy.adopt must be a list of at least one of admin,"),
        ("format = 1\n[roles]\n'policy.adopt' = 'admin'", "not 'admin'"),
        ("format = 1\n[roles]\n'policy.adopt' = ['boss']", "not ['boss']"),
        ("format = 1\n[roles]\n'policy.adopt' = [['admin']]", "must be a list"),
        ("format = 1\n[release]\nproduction = 'candidate'", "not candidate, latest or v1"),
        ("format = 1\n[release]\nproduction = 'V7'", "it is 'V7'"),
        ("format = 1\n[release]\nproduction = 'Latest'", "it is 'Latest'"),
        ("format = 1\n[release]\nproduction = 'a b'", "it is 'a b'"),
        ("format = 1\n[release]\nproduction = 7", "it is 7"),
        ("format = 1\n[release]\nalias = 'x'", "[release] may hold production, not 'alias'"),
        ("format = 1\n[quorum]\ndefault = 0", "quorum default must be a whole number from 1 to 20"),
        ("format = 1\n[quorum]\ndefault = 1.0", "not 1.0"),
        ("format = 1\n[quorum]\ndefault = 21", "not 21"),
        ("format = 1\n[quorum.scope]\neverything = 2", "not 'everything'"),
        ("format = 1\n[quorum.basis]\nwhim = 2", "not 'whim'"),
        ("format = 1\n[retention]\ndefault = 'long'", "'long' is not in [retention.days]"),
        ("format = 1\n[retention]\ndays = 3", "[retention.days] must be a table"),
        ("format = 1\n[retention.days]\nshort = -1", "retention.days.short must be a whole number"),
        ("format = 1\n[retention.days]\nshort = 1", "'standard' is not in [retention.days]"),
        ("format", "cannot be read"),
        (b"format = 1 # \xff", "cannot be read"),
        ("format = " + "9" * 5000, "cannot be read"),
        ("format = 0x" + "f" * 5000, "a number beyond all measure"),
        ("format = 1\n[quorum]\ndefault = 0x" + "f" * 5000, "a number beyond all measure"),
        ("format = " + "[" * 100_000, "cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path / "policy.toml", text)
    with pytest.raises(InvalidInputError) as caught:
        read_policy(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InvalidInputError, match="cannot be read"):
            read_policy(path)


LINES = st.sampled_from(
    [
        "format = 1", "[gates]", "[quorum]", "[quorum.scope]", "[quorum.basis]", "[retention]",
        "[retention.days]", "[[quorum]]", "default = 1", "default = 'short'", "days = {}", "domain = 2",
        "max_forget_accuracy = 0.5", "[gates.scope.domain]", "[gates.basis]", "[roles]", "[release]",
        "'policy.adopt' = ['admin']", "production = 'live'",
        "max_retain_drop = 1e400", "short = 1", "x = 2020-01-01", "a.b = []",
    ]
)  # fmt: skip
TEXTS = st.lists(LINES, max_size=12).map("\n".join) | st.text() | st.binary()


@given(TEXTS)
@settings(max_examples=300)
def test_any_file_is_a_policy_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    data = text if isinstance(text, bytes) else text.encode(errors="replace")
    path = written(tmp_path_factory.getbasetemp() / "any.toml", data)
    try:
        rules = read_policy(path)
    except InvalidInputError:
        return
    assert parse_policy(load_json(rules.to_json())) == rules


def _keys() -> st.SearchStrategy[str]:
    known = [
        "format",
        "gates",
        "quorum",
        "retention",
        "default",
        "scope",
        "basis",
        "days",
        "domain",
        "roles",
        "release",
        "production",
        "policy.adopt",
    ]
    return st.sampled_from([*known, "max_forget_accuracy", "bias", "short"]) | st.text(max_size=4)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES | st.dictionaries(_keys(), VALUES).map(lambda value: value | {"format": 1}))
@settings(max_examples=300)
def test_any_value_is_a_policy_or_refused(content: Any) -> None:
    try:
        rules = parse_policy(content)
    except InvalidInputError:
        return
    assert isinstance(rules, Policy)


def test_the_template_names_every_setting() -> None:
    content = tomllib.loads(template())
    assert all(f"\n{name} = " in template() or f"\n# {name} = " in template() for name in LIMITS)
    assert content["roles"].keys() == PERMISSIONS.keys() == MEANINGS.keys()
    assert content["release"] == {"production": "champion"}
    assert content["retention"]["days"].keys() == Retention().days.keys()


@pytest.mark.parametrize("permission", ESSENTIAL)
def test_a_policy_under_which_nobody_can_do_what_every_ledger_needs(permission: str) -> None:
    rules = Policy(roles={permission: frozenset({Role.AUDITOR})})
    assert helpless(rules, [{Role.ADMIN}, {Role.MLOPS}]) == permission
    assert helpless(rules, [{Role.ADMIN}, {Role.AUDITOR, Role.MLOPS}]) is None
    assert helpless(Policy(), [{Role.ADMIN}]) is None
    assert helpless(Policy(), []) == "policy.adopt"
