"""Replaying the gates of a decision or a promotion: computed again from the reports and the policy of that time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from governance.audit.world import Said, World
from governance.ledger.events import Entry
from governance.unlearning.gates import Content, Gate


def judged(
    world: World,
    event: Entry,
    payload: Any,
    reports: Sequence[str],
    about: str | None,
    permission: str,
    compute: Callable[[Sequence[Content]], Sequence[Gate]],
) -> Iterator[str | Said]:
    """What is wrong with the gates that an event names, and the override that it announces.

    Args:
        world: at that point of the log.
        event: the event.
        payload: of it.
        reports: digests of the reports that there were.
        about: digest of what was judged.
        permission: what an override needs.
        compute: the gates from the contents of the reports.
    """
    if payload["report_digests"] != list(reports):
        yield "its gates were held against other reports than its own"
        return
    contents = [world.report_of(digest) for digest in reports]
    # A report that is gone or was altered is found where the tables are read.
    read = [content for content in contents if content is not None]
    if len(read) == len(contents) and payload["gates"] != [g.to_dict() for g in compute(read)]:
        yield "its gates are not those that its reports and the policy give"
    failing = [gate for gate in payload["gates"] if gate["passed"] is not True]
    if "override" not in payload:
        if failing:
            yield f"the gate {failing[0]['name']} was not passed, and nobody overrode it"
        return
    override = payload["override"]
    if (override["actor"], override["about"]) != (event.actor, about):
        yield "the override is somebody else's, or of something else"
    if override["gates"] != failing or not failing:
        yield "the override is of other gates than those that failed"
    if not override["reason"].strip():
        yield "an override needs a reason"
    if not world.policy.roles[permission] & world.roles.get(event.actor, frozenset()):
        yield f"{event.actor} had no role for {permission}"
    yield Said("overrides", event.subject, override)
