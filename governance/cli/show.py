"""Printing figures, gates and requests for people."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import click

from governance.cli.context import Invocation, fraction, table
from governance.digests import short
from governance.reports.leakage import leakage
from governance.reports.words import describe_approvals
from governance.unlearning.gates import NEEDS, describe
from governance.unlearning.targets import Target, describe_all

WIDTH = 100
"""Columns of running text."""


def share(value: float | None, counts: Mapping[str, Any] | None) -> str:
    """An accuracy with its 95% interval and count."""
    if value is None or counts is None:
        return fraction(value)
    return f"{value:.3f} [{counts['low']:.3f}, {counts['high']:.3f}] n={counts['n']}"


def print_report(report: Mapping[str, Any]) -> None:
    """Before/after of a report."""
    sides = [report["before"], report["after"]]
    rows: list[list[str]] = []
    for key, label in (("forget", "forget set"), ("retain", "retain set")):
        cells = [share(side[f"{key}_accuracy"], side["counts"][key]) for side in sides]
        rows.append([label, *cells])
        if all(side["domain_prompts"] for side in sides):
            prompts = [side["domain_prompts"] for side in sides]
            cells = [share(p[f"{key}_accuracy"], p["counts"][key]) for p in prompts]
            rows.append([f"{label}, domain prompts", *cells])
    click.echo(f"Accuracy on {report['dataset']['name']} (95% interval):")
    table(rows, ["", "before", "after"])
    if "assessment" in report:
        print_leakage(report["assessment"])
        click.echo(textwrap.fill(report["verdict"], WIDTH))
    if report.get("overall"):
        figures = ", ".join(
            f"{name} {report['overall'][key]:.3f}"
            for key, name in (("harmonic", "H"), ("aus", "AUS"), ("rus", "RUS"))
        )
        click.echo(f"In one number: {figures}")
    composed = report.get("composed")
    if composed:
        active = ", ".join(map(str, composed["active_requests"]))
        click.echo(
            f"Together with active request {active}: forget {fraction(composed['forget_accuracy'])}, "
            f"retain {fraction(composed['retain_accuracy'])}"
        )
    if report["dataset"]["skipped"]:
        click.echo(f"{len(report['dataset']['skipped'])} unreadable images were left out.")


def print_leakage(assessment: Mapping[str, Any]) -> None:
    """The most important of what still leaks; reports and JSON hold the rest."""
    rows = [
        [line.name, *(cell.text for cell in line.cells)]
        for group in leakage(assessment)
        for line in group.lines
        if line.brief
    ]
    table(rows, ["what still leaks", "before", "after", "random edit, same rank"])


def scope(entry: Mapping[str, Any]) -> str:
    """Words for the targets of a request in a version's report."""
    return describe_all(Target.from_dict(target) for target in entry["targets"])


def print_members(report: Mapping[str, Any]) -> None:
    """Before/after of each request of a version, and of what is retained."""
    rows = [
        [
            f"request {entry['request']}: {scope(entry)}"
            + ("" if entry["active"] else " (dropped)"),
            fraction(entry["before"]),
            fraction(entry["after"]),
        ]
        for entry in report["requests"]
    ]
    kept = (report[side]["retain_accuracy"] for side in ("before", "after"))
    rows.append(["retain set", *map(fraction, kept)])
    table(rows, [f"accuracy on {report['dataset']['name']}", "before", "after"])


def print_gates(gates: Sequence[Mapping[str, Any]], strength: float = 1) -> None:
    """Every gate with its limit and the rule that sets it; a line if a partial strength is not held to some."""
    if not gates:
        click.echo("Gates: none apply")
        return
    failed = sum(not gate["passed"] for gate in gates)
    click.echo(f"Gates: {f'{failed} of {len(gates)} FAILED' if failed else 'all passed'}")
    rows = [
        (
            gate["name"]
            if gate["request"] is None
            else f"{gate['name']}, request {gate['request']}",
            gate["dataset"] or "–",
            "not measured" if gate["value"] is None else f"{gate['value']:.3f}",
            f"≤ {gate['limit']:.3f}",
            "passed" if gate["passed"] else "FAILED",
            gate["rule"],
        )
        for gate in gates
    ]
    table(rows, ["gate", "data set", "value", "limit", "", "set by"])
    for name in dict.fromkeys(gate["name"] for gate in gates if gate["value"] is None):
        click.echo(f"To measure {name} it takes {NEEDS[name]}.")
    if strength < 1:
        click.echo(
            f"What is left of it is not gated at strength {strength:g}: some recognition is intended to remain."
        )


def override_line(override: Mapping[str, Any]) -> str:
    """The warning that stands wherever something is shown that passed in spite of its gates."""
    gates = "; ".join(describe(gate) for gate in override["gates"])
    return (
        f"!!! OVERRIDE: {override['actor']} let {override['subject']} pass on {override['overridden_at'][:10]} "
        f"although {gates}. Reason: {override['reason']} !!!"
    )


def request_of(invocation: Invocation, number: int) -> dict[str, Any]:
    """The record of a request."""
    from governance.ledger.lookup import find_request
    from governance.reports.records import request_record

    with invocation.ledger.read() as session:
        return request_record(find_request(session, number))


def print_request(record: Mapping[str, Any]) -> None:
    """One request in full."""
    projector = record["projector"]
    rows = [
        ("request", record["id"]),
        ("state", record["state"]),
        ("model", record["model"]),
        ("forget", record["scope"]),
        ("basis", record["basis"]),
        ("reason", _or_erased(record, "reason")),
        ("subject", _or_erased(record, "subject_ref")),
        ("filed", f"{record['filed_at'][:10]} by {record['filed_by']}"),
        ("due", record["due_at"][:10] + (" OVERDUE" if record["overdue"] else "")),
        ("texts kept", _kept(record)),
    ]
    if projector:
        settings = projector["recipe"]["hyperparameters"]
        rows += [
            ("prepared", f"{projector['prepared_at'][:10]} by {projector['prepared_by']}"),
            ("method", f"{settings['method']}, strength {settings['strength']}"),
            ("edited", " and ".join(projector["sides"])),
            ("projector", f"{projector['digest']}, rank {projector['rank']}"),
            ("approvals", describe_approvals(record["approvals"])),
        ]
    for decision in record["decisions"]:
        bound = decision["projector_digest"]
        words = "BREAK GLASS, " if decision["break_glass"] else ""
        words += f"{decision['decided_at'][:10]} by {decision['actor']}"
        words += f", projector {short(bound)}" if bound else ""
        words += f": {decision['comment']}" if decision["comment"] else ""
        words += ": (comment erased)" if decision["comment_erased"] else ""
        rows.append((decision["ruling"], words))
    for file in record["attachments"]:
        rows.append((f"attachment {file['number']}", _file(file)))
    if record["break_glass"]:
        click.echo(break_glass_line([record["id"]]))
    for entry in record["overrides"]:
        click.echo(override_line(entry))
    table(rows, [])


def break_glass_line(requests: Sequence[int]) -> str:
    """The warning that stands wherever something is shown that was approved without four eyes."""
    numbers = ", ".join(map(str, requests))
    return (
        f"!!! BREAK GLASS: request {numbers} was approved by an admin in an emergency, without four eyes "
        "and quorum !!!"
    )


def _or_erased(record: Mapping[str, Any], kind: str) -> str:
    return record[kind] or ("(erased)" if kind in record["erased"] else "–")


def _kept(record: Mapping[str, Any]) -> str:
    words = f"class {record['retention']}"
    if record["redacted"]:
        words += "; REDACTED"
    elif record["keep_until"]:
        words += f", until {record['keep_until'][:10]}"
    return words + ("; ON LEGAL HOLD" if record["held"] else "")


def _file(file: Mapping[str, Any]) -> str:
    if file["erased"]:
        return "(erased)"
    size = "" if file["bytes"] is None else f", {file['bytes']:,} bytes"
    return f"{file['name']}{size}"
