"""``governance policy``: the rules in force, and changing them."""

from pathlib import Path
from typing import Any

import click

from governance.cli.context import Invocation, common, pass_invocation, table
from governance.policy import changes, flat, parse_policy, read_policy, template

_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


@click.group()
@common
def policy() -> None:
    """Gates, quorum, roles, production alias and retention: the rules that everybody who uses the ledger follows."""


@policy.command()
@click.option("--history", is_flag=True, help="Every policy that was ever in force, oldest first.")
@common
@pass_invocation
def show(invocation: Invocation, history: bool) -> None:
    """Show the policy in force."""
    from governance.ledger.lookup import every, policy_in_force
    from governance.ledger.tables import PolicyRecord
    from governance.reports.records import policy_record

    with invocation.ledger.read() as session:
        if history:
            records = [policy_record(row) for row in every(session, PolicyRecord)]
        else:
            record = policy_record(policy_in_force(session))
    if not history:
        invocation.emit(record, lambda: _print(record))
        return
    rows = []
    for before, after in zip([None, *records], records, strict=False):
        changed = "" if before is None else _summary(before["content"], after["content"])
        rows.append((after["adopted_at"][:10], after["adopted_by"], after["digest"], changed))
    headers = ["adopted", "by", "digest", "changes"]
    invocation.emit(records, lambda: table(rows, headers))


@policy.command()
@_FILE
@click.option("--reason", required=True, help="Why; kept for ever, so no personal data.")
@common
@pass_invocation
def adopt(invocation: Invocation, file: Path, reason: str) -> None:
    """Put the policy in FILE in force, and show what it changes.

    What was decided stays valid; whatever is decided or released from now on follows the new policy.
    """
    from governance.ledger.lookup import policy_in_force
    from governance.reports.records import policy_record
    from governance.workflow import policies

    rules = read_policy(file)
    before = policies.adopt(invocation.ledger, invocation.acting, rules, reason)
    with invocation.ledger.read() as session:
        record = policy_record(policy_in_force(session))
    found = changes(before, rules)
    record["changes"] = [{"key": key, "from": old, "to": new} for key, old, new in found]

    def print_() -> None:
        click.echo(f"Adopted {record['digest']}.")
        for key, old, new in found:
            click.echo(f"{key}: {_value(old)} → {_value(new)}")

    invocation.emit(record, print_)


@policy.command()
@_FILE
@common
@pass_invocation
def check(invocation: Invocation, file: Path) -> None:
    """Read the policy in FILE without adopting it; needs no workspace."""
    rules = read_policy(file)
    record = {"ok": True, "digest": rules.digest, "content": rules.to_dict()}
    invocation.emit(record, lambda: click.echo(f"{file} is a policy, {rules.digest}."))


@policy.command("template")
@common
@pass_invocation
def template_(invocation: Invocation) -> None:
    """Print a policy file with the defaults and what they mean; needs no workspace."""
    text = template()
    invocation.emit({"toml": text}, lambda: click.echo(text, nl=False))


def _print(record: dict[str, Any]) -> None:
    day, who = record["adopted_at"][:10], record["adopted_by"]
    click.echo(f"Policy {record['digest']}, adopted on {day} by {who}")
    table(list(flat(parse_policy(record["content"])).items()), ["setting", "value"])


def _summary(before: dict[str, Any], after: dict[str, Any]) -> str:
    found = changes(parse_policy(before), parse_policy(after))
    return ", ".join(f"{key} {_value(old)} → {_value(new)}" for key, old, new in found)


def _value(value: Any) -> str:
    return "–" if value is None else str(value)
