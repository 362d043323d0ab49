"""Printing how two versions differ."""

from collections.abc import Mapping
from typing import Any

import click

from governance.cli.context import table
from governance.digests import short

_SMALL = 5e-4
"""Half of the last digit shown; what changed by less looks the same."""


def print_difference(record: Mapping[str, Any]) -> None:
    """What `governance.reports.difference.version_difference` found."""
    old, new = record["from"], record["to"]
    click.echo(f"{record['model']} version {new['version']} compared with version {old['version']}")
    _print_requests(record["requests"])
    for side, words in (("image", "Images"), ("text", "Texts")):
        click.echo(f"{words}: {_moved(record['drift'][side])}")
    for measured in record["metrics"]:
        _print_figures(measured)
    if record["measured_once"]:
        click.echo(f"Measured for one of them only: {', '.join(record['measured_once'])}")
    elif not record["metrics"]:
        click.echo("Neither was measured; see: governance version evaluate")


def _print_requests(requests: Mapping[str, Any]) -> None:
    for entry in requests["added"]:
        click.echo(f"+ request {entry['request']}: {entry['scope']}")
    for entry in requests["dropped"]:
        click.echo(f"- request {entry['request']}: {entry['scope']} (recognisable again)")
    for entry in requests["changed"]:
        edits = f"{short(entry['from'])} → {short(entry['to'])}"
        click.echo(f"~ request {entry['request']}: {entry['scope']} (another edit: {edits})")
    if not any(requests.values()):
        click.echo("The same requests with the same edits.")


def _moved(drift: Mapping[str, Any]) -> str:
    if not drift["rank"]:
        return "the matrix is the same"
    share = "" if drift["relative"] is None else f", {drift['relative']:.3f} of the edit before"
    return (
        f"the matrix moved by {drift['frobenius']:.3f} (Frobenius norm{share}), in {drift['rank']} "
        f"directions, a feature of length 1 by at most {drift['largest']:.3f}"
    )


def _print_figures(measured: Mapping[str, Any]) -> None:
    figures = measured["figures"]
    moved = [f for f in figures if f["change"] is None or abs(f["change"]) >= _SMALL]
    moved.sort(key=lambda f: f["figure"].count("."))  # what sums up comes first
    rows = [
        (f["figure"], *(_number(f[key]) for key in ("from", "to")), _number(f["change"], "+"))
        for f in moved
    ]
    if rows:
        table(rows, [f"on {measured['dataset']}", "before", "after", "change"])
    same = len(figures) - len(moved)
    if same:
        click.echo(f"{same} other figures on {measured['dataset']} stayed; --json lists them.")


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.3f}"
