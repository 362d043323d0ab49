"""The transition table: every state against every action, and what must hold of the whole."""

from itertools import product

import pytest

from governance.errors import RefusedError
from governance.states import (
    ACTIVE_STATES,
    OPEN_STATES,
    PAPERWORK,
    PERMISSIONS,
    TRANSITIONS,
    Action,
    Basis,
    Role,
    State,
    allowed_actions,
    next_state,
)

# The table once more, by action and as words, so that a change to it is made twice and on purpose.
EXPECTED = {
    Action.PREPARE: "filed>prepared prepared>prepared approved>prepared reinstated>prepared",
    Action.EVALUATE: "prepared>prepared approved>approved applied>applied released>released "
    "reinstated>reinstated",
    Action.ENDORSE: "prepared>prepared",
    Action.APPROVE: "prepared>approved",
    Action.REJECT: "filed>rejected prepared>rejected",
    Action.WITHDRAW: "filed>withdrawn prepared>withdrawn approved>withdrawn reinstated>withdrawn",
    Action.EXTEND: "filed>filed prepared>prepared approved>approved applied>applied "
    "reinstated>reinstated",
    Action.APPLY: "approved>applied reinstated>applied",
    Action.RELEASE: "applied>released",
    Action.REINSTATE: "applied>reinstated released>reinstated closed>reinstated",
    Action.CLOSE: "released>closed",
}
STEPS = {
    (State(before), action): State(after)
    for action, steps in EXPECTED.items()
    for before, after in (step.split(">") for step in steps.split())
}


def test_the_table_is_the_expected_one() -> None:
    assert set(EXPECTED) == set(Action) - PAPERWORK
    assert TRANSITIONS == STEPS


@pytest.mark.parametrize(("state", "action"), list(product(State, Action)))
def test_every_state_against_every_action(state: State, action: Action) -> None:
    if action in PAPERWORK:
        assert next_state(state, action) is state
        assert action not in allowed_actions(state)  # nothing that helps a case along
        return
    if (state, action) in STEPS:
        assert next_state(state, action) is STEPS[state, action]
        assert action in allowed_actions(state)
        return
    assert action not in allowed_actions(state)
    with pytest.raises(RefusedError) as caught:
        next_state(state, action)
    head, possible = str(caught.value).split("; it can be ")
    assert head == f"it is {state.value} and cannot be {action.value}"
    named = [a.value for a in Action if (state, a) in STEPS]
    assert possible == (", ".join(named) or "nothing any more")


def test_every_state_is_reached_from_the_first() -> None:
    reached, fresh = {State.FILED}, {State.FILED}
    while fresh:
        fresh = {after for (before, _), after in TRANSITIONS.items() if before in fresh} - reached
        reached |= fresh
    assert reached == set(State)


@pytest.mark.parametrize(
    ("state", "ways_out"),
    [
        (State.REJECTED, ()),
        (State.WITHDRAWN, ()),
        (State.CLOSED, (Action.REINSTATE,)),
    ],
)
def test_ended_states_have_no_way_out_but_reinstating_what_was_closed(
    state: State, ways_out: tuple[Action, ...]
) -> None:
    assert allowed_actions(state) == ways_out


def test_the_usual_path() -> None:
    state = State.FILED
    for action in (Action.PREPARE, Action.APPROVE, Action.APPLY, Action.RELEASE, Action.CLOSE):
        state = next_state(state, action)
    assert state is State.CLOSED


def test_preparing_again_voids_an_approval() -> None:
    again = next_state(State.APPROVED, Action.PREPARE)
    assert again is State.PREPARED
    assert Action.APPLY not in allowed_actions(again)


def test_only_an_approval_leads_to_an_applied_request() -> None:
    """Without APPROVE nothing that starts as filed is ever applied."""
    reached = {State.FILED}
    for _ in State:
        reached |= {
            after
            for (before, action), after in TRANSITIONS.items()
            if before in reached and action is not Action.APPROVE
        }
    assert reached.isdisjoint(ACTIVE_STATES | {State.APPROVED})
    assert {before for before, action in TRANSITIONS if action is Action.APPROVE} == {
        State.PREPARED
    }


def test_actions_that_only_record_something_keep_the_state() -> None:
    for (before, action), after in TRANSITIONS.items():
        if action in (Action.EVALUATE, Action.EXTEND, Action.ENDORSE):
            assert after is before
        elif action is not Action.PREPARE:
            assert after.value == action.value


def test_a_deadline_can_be_extended_exactly_while_it_runs() -> None:
    assert {state for state in State if Action.EXTEND in allowed_actions(state)} == OPEN_STATES


def test_exactly_the_active_states_can_be_reinstated() -> None:
    assert {s for s in State if Action.REINSTATE in allowed_actions(s)} == ACTIVE_STATES


def test_every_permission_has_roles_and_an_administrator() -> None:
    for permission, roles in PERMISSIONS.items():
        assert roles, permission
        assert roles <= set(Role), permission
        assert Role.ADMIN in roles, permission


def test_every_role_may_do_something_and_no_auditor_changes_anything() -> None:
    assert frozenset().union(*PERMISSIONS.values()) == set(Role)
    may = {permission for permission, roles in PERMISSIONS.items() if Role.AUDITOR in roles}
    assert may == {
        "actor.rotate-own-key",
        "attachment.export",
        "audit.export",
        "checkpoint.take",
        "report.export",
        "request.evaluate",
        "version.evaluate",
        "version.export",
    }


def test_who_files_or_prepares_by_role_does_not_decide() -> None:
    without_admin = {name: roles - {Role.ADMIN} for name, roles in PERMISSIONS.items()}
    deciding = without_admin["request.decide"]
    assert deciding == {Role.APPROVER}
    for name in ("request.file", "request.prepare", "version.apply", "version.promote"):
        assert deciding.isdisjoint(without_admin[name])


def test_grounds_name_each_letter_of_article_17_1() -> None:
    letters = {basis.value[-1] for basis in Basis if basis.value.startswith("gdpr-17-1-")}
    assert letters == set("abcdef")
    assert len({basis.value for basis in Basis}) == len(Basis)
