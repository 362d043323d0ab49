"""What the actor of an event had to be allowed."""

from typing import Any

from governance.audit.world import World
from governance.ledger.events import REFUSED, Entry
from governance.states import Role


def forbidden(world: World, event: Entry, payload: Any) -> str | None:
    """Why the actor may not have done this, or None."""
    if event.action.endswith(REFUSED) or event.seq == 1:
        return None
    roles = world.roles.get(event.actor, _NOBODY)
    wanted = _permission(world, event, payload)
    if wanted is None:
        return None if roles else f"{event.actor} had no role"
    return None if world.policy.roles[wanted] & roles else f"{event.actor} had no role for {wanted}"


_NOBODY: frozenset[Role] = frozenset()

_PERMISSION_OF = {
    "policy.adopted": "policy.adopt",
    "checkpoint.taken": "checkpoint.take",
    "bundle.exported": "audit.export",
    "report.exported": "report.export",
    "attachment.exported": "attachment.export",
    "actor.added": "actor.manage",
    "actor.deactivated": "actor.manage",
    "dataset.added": "dataset.add",
    "model.registered": "model.register",
    "version.intended": "version.apply",
    "version.registered": "version.apply",
    "version.nominated": "version.apply",
    "version.alias_intended": "version.promote",
    "version.evaluated": "version.evaluate",
    "version.export_intended": "version.export",
    "version.exported": "version.export",
    "version.restored": "doctor.repair",
    "doctor.repair_intended": "doctor.repair",
    "doctor.repaired": "doctor.repair",
    "request.filed": "request.file",
    "request.prepared": "request.prepare",
    "request.evaluated": "request.evaluate",
    "request.rejected": "request.decide",
    "request.withdrawn": "request.withdraw",
    "request.extended": "request.extend",
    "request.applied": "version.apply",
    "request.released": "version.promote",
    "request.reinstated": "version.rollback",
    "request.closed": "request.close",
    "request.attached": "request.attach",
    "request.held": "request.hold",
    "request.hold_lifted": "request.hold",
    "request.redacted": "request.redact",
}
"""Where one permission decides; for anything else any role will do."""


def _permission(world: World, event: Entry, payload: Any) -> str | None:
    match event.action:
        case "actor.key_rotated":
            own = event.subject == f"actor:{event.actor}"
            return "actor.rotate-own-key" if own else "actor.manage"
        case "request.endorsed" | "request.approved":
            broken = payload["decision"]["break_glass"]
            return "request.break-glass" if broken else "request.decide"
        case "version.abandoned":
            _, who = world.intents.get(payload["intent"], (None, None))
            return None if who == event.actor else "doctor.repair"
        case "version.promoted":
            return "version.rollback" if payload.get("rollback") else "version.promote"
        case _:
            return _PERMISSION_OF.get(event.action)
