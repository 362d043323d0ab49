"""``governance version``: promote, roll back, export, verify."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from governance.cli.context import (
    FOR_EVER,
    NUMBER,
    Invocation,
    common,
    dataset_option,
    expect_option,
    model_option,
    override_options,
    override_reason,
    paged,
    pass_invocation,
    table,
    tell_more,
)
from governance.cli.show import (
    break_glass_line,
    override_line,
    print_gates,
    print_members,
    print_report,
)
from governance.errors import InvalidInputError
from governance.paging import Page

if TYPE_CHECKING:
    from governance.evidence.artifact import SignedModel


@click.group()
@common
def version() -> None:
    """Model versions."""


@version.command("list")
@model_option
@paged
@common
@pass_invocation
def list_(invocation: Invocation, model: str | None, page: Page) -> None:
    """List the versions of a model, by number."""
    from governance.ledger.lookup import find_model
    from governance.reports.records import version_records

    with invocation.ledger.read() as session:
        records, more = version_records(session, find_model(session, model), page)
    cells = [
        (r["version"], ", ".join(map(str, r["active_requests"])) or "–",
         ", ".join([*r["aliases"], *(["BREAK GLASS"] if r["break_glass"] else []),
                    *(["OVERRIDE"] if r["overrides"] else [])]),
         r["created_by"], r["created_at"][:10], r["digest"])
        for r in records
    ]  # fmt: skip
    headers = ["version", "active requests", "aliases", "made by", "on", "digest"]
    invocation.emit(records, lambda: table(cells, headers))
    tell_more(page, more, records[-1]["version"] if records else 0)


@version.command()
@click.argument("number", metavar="N", type=NUMBER)
@model_option
@common
@pass_invocation
def show(invocation: Invocation, number: int, model: str | None) -> None:
    """Show version N: its active requests and reports."""
    print_version(invocation, model, number, "")


@version.command()
@click.argument("before", metavar="A", type=NUMBER)
@click.argument("after", metavar="B", type=NUMBER)
@model_option
@common
@pass_invocation
def diff(invocation: Invocation, before: int, after: int, model: str | None) -> None:
    """Show what version B has otherwise than version A.

    Requests added and dropped, every figure that changed on the data sets that both were measured on, and how far the
    matrices are apart. --json holds the figures that stayed, too.
    """
    from governance.cli.difference import print_difference
    from governance.reports.difference import version_difference

    with invocation.ledger.read() as session:
        record = version_difference(session, model, before, after)
    invocation.emit(record, lambda: print_difference(record))


@version.command()
@click.argument("number", metavar="N", type=NUMBER)
@model_option
@dataset_option
@common
@pass_invocation
def evaluate(invocation: Invocation, number: int, model: str | None, dataset: str | None) -> None:
    """Measure version N on a data set."""
    from governance.ledger.judgement import gates_of_report
    from governance.ledger.rules import current
    from governance.ledger.tables import Report
    from governance.reports.records import report_record
    from governance.workflow import versions

    report_id = versions.evaluate_version(
        invocation.tools, invocation.acting, model, number, dataset
    )
    with invocation.ledger.read() as session:
        row = session.get_one(Report, report_id)
        report = report_record(row)
        gates = [gate.to_dict() for gate in gates_of_report(current(session)[0], row)]

    def print_() -> None:
        print_report(report)
        print_gates(gates)

    record = {"model": report["model"], "version": number, "report": report, "gates": gates}
    invocation.emit(record, print_)


@version.command()
@click.argument("number", metavar="N", type=NUMBER)
@override_options
@expect_option
@model_option
@common
@pass_invocation
def promote(
    invocation: Invocation,
    number: int,
    override: bool,
    reason: str | None,
    expect: int | None,
    model: str | None,
) -> None:
    """Serve version N: the production alias (champion), if it passes the gates of the policy.

    A gate that fails on any report on the version refuses it, unless somebody who may overrides it.

    The head of the log's tree after that is signed and carried to the workspace, MLflow and the configured anchors.
    """
    from governance.workflow import release

    name, number = release.promote(
        invocation.ledger,
        invocation.registry,
        invocation.acting,
        model,
        number,
        override_reason(override, reason),
        expect,
    )
    invocation.carry_heads()
    print_version(invocation, name, number, "Promoted: ")


@version.command()
@click.option(
    "--to", type=NUMBER, metavar="N", help="Version to serve; the one before if not given."
)
@click.option(
    "--drop", type=NUMBER, metavar="ID", help="Instead, make a version without this request."
)
@click.option("--reason", required=True, help=FOR_EVER)
@click.option(
    "--override", is_flag=True,
    help="With --drop, as an admin: serve the new version although a gate fails, for the same reason.",
)  # fmt: skip
@expect_option
@click.option("--dry-run", is_flag=True, help="Only say what would become recognisable again.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask first, on a terminal.")
@model_option
@common
@pass_invocation
def rollback(
    invocation: Invocation,
    to: int | None,
    drop: int | None,
    reason: str,
    override: bool,
    expect: int | None,
    dry_run: bool,
    yes: bool,
    model: str | None,
) -> None:
    """Serve an earlier version again, or drop one request from the middle of the active set.

    What is dropped becomes recognisable again, which is said before anything happens; its request is then reinstated,
    with its deadline running, and can be applied again. A version made by --drop must pass the gates of the policy.
    """
    from governance.cli.returns import announce

    if to is not None and drop is not None:
        raise InvalidInputError("--to and --drop exclude each other")
    if override and drop is None:
        raise click.UsageError("--override is for --drop; a version served before has passed")
    going, served = announce(invocation, model, to, drop, dry_run, yes)
    if not going:
        return
    expect = expect if expect is not None else served  # what was said is what happens
    if drop is not None:
        from governance.workflow import versions

        name, number = versions.drop(
            invocation.tools, invocation.acting, drop, reason, reason if override else None, expect
        )
        lost = [drop]
    else:
        from governance.workflow import release

        name, number, lost = release.roll_back(
            invocation.ledger, invocation.registry, invocation.acting, model, to, reason, expect
        )
    invocation.carry_heads()
    print_version(invocation, name, number, "Rolled back: ", lost)


@version.command()
@click.argument("number", metavar="N", type=NUMBER)
@click.option(
    "-o", "--output", "dest", metavar="DIR", required=True, type=click.Path(path_type=Path),
    help="Directory to make.",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["fp32", "fp16", "bf16"]), default="fp32", show_default=True,
    help="Of the weights written; the edit is certified at it.",
)  # fmt: skip
@model_option
@common
@pass_invocation
def export(
    invocation: Invocation, number: int, dest: Path, precision: str, model: str | None
) -> None:
    """Write version N as an open_clip directory that stock open_clip loads, signed with your key.

    open_clip.create_model_from_pretrained('local-dir:DIR') gives the edited model. Tell whoever gets the directory the
    id of the key: with it, `governance version check-export` needs nothing else.
    """
    from governance.workflow import versions

    name, path, exported = versions.export(
        invocation.tools,
        invocation.acting,
        model,
        number,
        dest,
        invocation.settings.departures_dir,
        precision,
    )
    record = {"model": name, "version": number, "path": str(path.absolute()), **exported}
    text = f"Exported {name} version {number} at {precision} to {path}\n{exported['load']}\n"
    text += f"signed with key {exported['key_id']}"
    invocation.emit(record, lambda: click.echo(text))


@version.command()
@click.argument("number", metavar="N", type=NUMBER)
@click.argument("path", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@model_option
@common
@pass_invocation
def verify(invocation: Invocation, number: int, path: Path | None, model: str | None) -> None:
    """Verify version N, or the directory DIR that it was exported to.

    Without DIR, its digests in the ledger and those of MLflow's tags, factors and changed tensors are computed
    again, and the base model is folded again. With DIR, its signature must be by a key that the ledger knew at the
    export, and its files those that were signed. Exits with 6 and names the first thing that is not as recorded.
    """
    if path is not None:
        from governance.workflow.exports import verify_export

        signed, actor = verify_export(invocation.ledger, model, number, path)
        _print_signed(invocation, signed, path, f"exported by {actor}", {"exported_by": actor})
        return
    from governance.workflow.verification import verify_version

    name, digests = verify_version(invocation.tools, model, number)
    record = {"ok": True, "model": name, "version": number, "digests": digests}

    def print_() -> None:
        click.echo(f"{name} version {number} is as recorded.")
        for what, digest in digests.items():
            click.echo(f"{what}: {digest}")

    invocation.emit(record, print_)


@version.command("check-export")
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--trust-key", metavar="KEY", required=True,
    help="Public key that must have signed: its id (sha256:…), base64, or a file of either or of PEM.",
)  # fmt: skip
@common
@pass_invocation
def check_export(invocation: Invocation, path: Path, trust_key: str) -> None:
    """Verify an exported directory with nothing but a public key; there need be no workspace.

    The artifacts of a version, as `mlflow artifacts download` writes them, are such a directory too.
    """
    from governance.evidence.artifact import verify_directory
    from governance.evidence.keys import trusted_key_id

    signed = verify_directory(path, trusted_key_id(trust_key), besides=("registered_model_meta",))
    _print_signed(invocation, signed, path, "every file is as it was signed", {})


def _print_signed(
    invocation: Invocation, signed: "SignedModel", path: Path, words: str, more: dict[str, str]
) -> None:
    record = {
        "ok": True,
        "path": str(path.absolute()),
        "name": signed.name,
        "key_id": signed.key.key_id,
        "statement_digest": signed.statement_digest,
        "facts": dict(signed.facts),
        "files": {name: vars(file) for name, file in signed.files.items()},
        **more,
    }

    def print_() -> None:
        click.echo(f"{path} holds {signed.name}, {words}.")
        click.echo(
            f"{len(signed.files)} files, version digest {signed.facts.get('version_digest')}"
        )
        click.echo(f"signed with key {signed.key.key_id}")

    invocation.emit(record, print_)


def print_version(
    invocation: Invocation, model: str | None, number: int, verb: str, lost: list[int] | None = None
) -> None:
    """Print a version, what it forgets and what it brings back."""
    from governance.ledger.judgement import judge_version
    from governance.ledger.lookup import find_model, find_request, find_version
    from governance.reports.records import report_record, request_record, version_record

    with invocation.ledger.read() as session:
        row = find_version(session, find_model(session, model), number)
        record = version_record(session, row)
        reports = [report_record(report) for report in row.reports]
        back = [request_record(find_request(session, gone)) for gone in lost or []]
        gates = judge_version(session, row).to_dict()["gates"]
    record |= {"reports": reports, "gates": gates, "reinstated_requests": [r["id"] for r in back]}

    def print_() -> None:
        active = ", ".join(map(str, record["active_requests"])) or "none"
        names = ", ".join(record["aliases"]) or "no alias"
        click.echo(f"{verb}{record['model']} version {number} ({names}); active requests: {active}")
        if record["break_glass"]:
            click.echo(break_glass_line(record["break_glass"]))
        for entry in record["overrides"]:
            click.echo(override_line(entry))
        click.echo(f"edited: {' and '.join(record['sides']) or 'nothing'}")
        click.echo(f"digest {record['digest']}")
        for gone in back:
            click.echo(f"Recognisable again: {gone['scope']} (request {gone['id']}, reinstated)")
        for report in reports:
            print_members(report)
        if gates:
            print_gates(gates)

    invocation.emit(record, print_)
