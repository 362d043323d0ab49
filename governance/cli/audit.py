"""``governance audit``: the event log, its signed heads, its proofs, its verification, and bundles of evidence."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from governance.cli.context import (
    NUMBER,
    Invocation,
    common,
    model_option,
    pass_invocation,
    progress_bar,
    table,
)
from governance.cli.remeasure import remeasure
from governance.digests import short
from governance.errors import IntegrityError, InvalidInputError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from governance.audit.verify import Verification
    from governance.settings import Settings

_SEQ = click.IntRange(1, 2**53 - 1)


@click.group()
@common
def audit() -> None:
    """The event log, its verification, and bundles of evidence."""


audit.add_command(remeasure)


@audit.command()
@click.option("--subject", metavar="KIND:NAME", help="Only events of one subject, e.g. request:1.")
@click.option("--action", metavar="KIND.VERB", help="Only events of one kind, e.g. request.filed.")
@click.option("--by", metavar="NAME", help="Only what one actor did.")
@click.option("--since", type=_SEQ, metavar="SEQ", help="Only this event and later ones.")
@click.option("--limit", type=_SEQ, metavar="N", help="Only the first N of them.")
@common
@pass_invocation
def log(
    invocation: Invocation,
    subject: str | None,
    action: str | None,
    by: str | None,
    since: int | None,
    limit: int | None,
) -> None:
    """Show the events, oldest first."""
    from governance.ledger.events import stream
    from governance.reports.records import event_record

    with invocation.ledger.read() as session:
        found = stream(session, subject, action, by, since, limit)
        records = [event_record(event) for event in found]
    rows = [
        (r["seq"], r["at"][:19].replace("T", " "), r["actor"], r["action"], r["subject"],
         short(r["digest"]))
        for r in records
    ]  # fmt: skip
    headers = ["seq", "time (UTC)", "actor", "action", "subject", "digest"]
    invocation.emit(records, lambda: table(rows, headers))


@audit.command()
@click.option(
    "--offline", is_flag=True, help="Leave MLflow out: no tag of the served versions is set."
)
@common
@pass_invocation
def checkpoint(invocation: Invocation, offline: bool) -> None:
    """Sign the head of the log's tree, print the note, and carry it outside the database.

    It goes to the workspace, to MLflow as a tag of the served versions, and to the anchor of governance.toml; what an
    outage left undone there before is made up for. Exit code 7 if a place cannot be reached, 6 if one holds a
    checkpoint that the ledger does not.
    """
    from governance.workflow.checkpoints import spread, take

    head = take(invocation.ledger, invocation.acting)
    failures = spread(invocation.ledger, invocation.anchors(mlflow=not offline)).failures
    record = {
        "size": head.size,
        "root": head.root,
        "key_id": head.key_id,
        "note": head.note,
        "failures": {place: str(error) for place, error in failures.items()},
    }
    invocation.emit(record, lambda: click.echo(head.note, nl=False))
    problems = [f"{place}: {error}" for place, error in failures.items()]
    if any(isinstance(error, IntegrityError) for error in failures.values()):
        raise IntegrityError(f"a place outside contradicts the ledger: {'; '.join(problems)}")
    if problems:
        raise UnavailableError(f"the checkpoint did not reach {'; '.join(problems)}")


@audit.command()
@click.option(
    "--checkpoint", "checkpoints", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
    help="A checkpoint that you kept; repeat for several.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Do not ask MLflow.")
@click.option("--no-signatures", is_flag=True, help="Do not verify the signatures of the events.")
@click.option(
    "--log-only", is_flag=True,
    help="Only digests, links, times, the tree and the tree heads: a quick check of a long log.",
)  # fmt: skip
@click.option(
    "--processes", type=click.IntRange(min=1), metavar="N",
    help="How many read a long log at once; as many as there are processors if not given.",
)  # fmt: skip
@common
@pass_invocation
def verify(
    invocation: Invocation,
    checkpoints: tuple[Path, ...],
    offline: bool,
    no_signatures: bool,
    log_only: bool,
    processes: int | None,
) -> None:
    """Recompute every digest, link, signature and state of the ledger; exit code 6 if anything does not hold.

    Tree heads that were signed before are held against it: those in the workspace, in the anchor directory and in
    MLflow, whose tags and aliases are compared too, and those in the FILEs you kept yourself. If everything holds, the
    workspace gets copies of those that were signed elsewhere. What came of it is added to checks.jsonl in the
    workspace, for `governance metrics` and `governance notify`; the ledger is only read.

    With --log-only nothing is said of signatures, of what the events mean, or of the tables and MLflow.
    """
    from governance.audit.readers import processors, seldom_collected
    from governance.audit.verify import verify as verify_ledger
    from governance.outside import read_text

    settings = _settings(invocation)
    notes, unchecked = _notes(settings)
    for path in checkpoints:
        note = read_text(path)
        if note is None:
            raise NotFoundError(f"there is no checkpoint file {path}")
        notes[str(path)] = note
    registry = None
    if log_only:
        for what in ("signatures of events", "what the events say", "tables", "MLflow"):
            unchecked[what] = "left out"
    elif offline:
        unchecked["MLflow"] = "left out"
    elif settings is None:
        unchecked["MLflow"] = "there is no workspace that names it"
    else:
        registry = lambda: invocation.mirror  # noqa: E731
    if no_signatures and not log_only:
        unchecked["signatures"] = "left out"
    begun = monotonic()
    with seldom_collected():
        result = verify_ledger(
            invocation.ledger,
            notes,
            not no_signatures,
            registry,
            partial(progress_bar, unit="event"),
            log_only,
            processes or processors(),
        )
    unchecked |= result.unchecked
    if settings is not None:
        from governance.checks import AUDIT, AUDIT_LOG

        invocation.remember_check(
            AUDIT_LOG if log_only else AUDIT,
            [(fault.where, fault.problem) for fault in result.faults],
            result.events,
            monotonic() - begun,
        )
        if result.ok:
            invocation.keep_heads()
    record = result.to_dict() | {"not_checked": unchecked}
    for what, why in unchecked.items():
        click.echo(f"Not checked: {what} ({why})", err=True)
    invocation.emit(record, lambda: _print(result))
    if not result.ok:
        first = result.faults[0]
        raise IntegrityError(f"the ledger does not hold: {first.where}: {first.problem}")


@audit.command()
@click.argument("seq", metavar="[SEQ]", required=False, type=_SEQ)
@click.option(
    "--checkpoint", "head", metavar="FILE|SIZE",
    help="Below which signed tree head; the newest in the ledger if not given.",
)  # fmt: skip
@click.option(
    "--consistency", nargs=2, metavar="OLD NEW",
    help="Instead, that the log only grew between two heads, each a FILE or a SIZE.",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the proof there.",
)  # fmt: skip
@common
@pass_invocation
def prove(
    invocation: Invocation,
    seq: int | None,
    head: str | None,
    consistency: tuple[str, str] | None,
    output: Path | None,
) -> None:
    """Prove that event SEQ is in the log, or that the log only grew; the proof is JSON.

    It names the log, the event's entry, its index in the Merkle tree of RFC 6962, and the hashes to the root that the
    checkpoint signs. Nobody needs the rest of the log, or this program, to check it.
    """
    from governance.audit import proofs

    if (seq is None) == (consistency is None):
        raise click.UsageError("name an event SEQ, or two heads with --consistency OLD NEW")
    if consistency is not None and head is not None:
        raise click.UsageError("--checkpoint is for the proof of an event")
    with invocation.ledger.read() as session:
        if consistency is not None:
            old, new = map(_head, consistency)
            proof = proofs.consistency(session, old, new)
        else:
            assert seq is not None
            proof = proofs.inclusion(session, seq, None if head is None else _head(head))
    text = json.dumps(proof, indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
        return
    output.write_text(text + "\n", encoding="utf-8")
    click.echo(f"Wrote {output}.", err=True)


@audit.command()
@click.option("--request", type=NUMBER, metavar="N", help="What concerns one request.")
@click.option("--version", type=NUMBER, metavar="N", help="What concerns one version.")
@model_option
@click.option("--all", "everything", is_flag=True, help="The whole ledger; the default.")
@click.option(
    "-o", "--output", metavar="FILE", required=True,
    type=click.Path(path_type=Path, dir_okay=False), help="The ZIP file to write.",
)  # fmt: skip
@click.option(
    "--with-texts", is_flag=True,
    help="Include private texts (reasons, subject references, comments, attachments) that were not erased.",
)  # fmt: skip
@common
@pass_invocation
def export(
    invocation: Invocation,
    request: int | None,
    version: int | None,
    model: str | None,
    everything: bool,
    output: Path,
    with_texts: bool,
) -> None:
    """Write a bundle with evidence that anybody can verify offline.

    It holds events with proofs, keys, decisions, recipes, factors, reports and a verifier; that it was exported is an
    event itself. docs/audit.md says how to verify it.
    """
    from governance.audit.bundle_contents import Scope
    from governance.workflow.bundles import export as export_bundle

    if (request is not None) + (version is not None) + everything > 1:
        raise InvalidInputError("name one of --request, --version and --all")
    if model is not None and version is None:
        raise InvalidInputError("--model goes with --version")
    scope = Scope(request=request, model=model, version=version)
    done = export_bundle(invocation.ledger, invocation.acting, scope, output, with_texts)
    if _settings(invocation) is not None:
        invocation.carry_heads("the bundle is written", mlflow=False)
    record = {
        "path": str(done.path.absolute()),
        "about": done.scope.to_dict(),
        "manifest": done.manifest,
        "events": done.size,
        "texts": with_texts,
    }

    def show() -> None:
        click.echo(str(done.path.absolute()))
        click.echo(f"manifest {done.manifest}")

    invocation.emit(record, show)


@audit.command("check-bundle")
@click.argument("bundle", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="A signed checkpoint that you got from elsewhere.",
)  # fmt: skip
@click.option(
    "--trust-key", metavar="KEY", multiple=True,
    help="A key that you know: its id (sha256:…) or the PEM file of the public key. Repeatable.",
)  # fmt: skip
@common
@pass_invocation
def check_bundle(
    invocation: Invocation, bundle: Path, checkpoint: Path | None, trust_key: tuple[str, ...]
) -> None:
    """Verify a bundle; exit code 6 if anything does not hold.

    Does the same as verify_bundle.py inside the bundle, but with the verifier of this installation. Needs no workspace.
    """
    from governance.audit import verify_bundle
    from governance.errors import IntegrityError, NotFoundError

    try:
        outcome = verify_bundle.verify(bundle, checkpoint, trust_key)
    except verify_bundle.Missing as error:
        raise NotFoundError(str(error)) from error
    except verify_bundle.Unreadable as error:
        raise InvalidInputError(str(error)) from error
    invocation.emit(outcome.to_dict(), lambda: click.echo(outcome.to_text()))
    if not outcome.ok:
        raise IntegrityError(f"the bundle does not hold: {outcome.first_bad}")


def _head(named: str) -> int | str:
    """A size, or the note in a file."""
    from governance.outside import read_text

    if named.isdecimal() and named.isascii() and len(named) < 19:
        return int(named)
    note = read_text(Path(named))
    if note is None:
        raise NotFoundError(f"{named!r} is neither a size nor a checkpoint file")
    return note


def _settings(invocation: Invocation) -> "Settings | None":
    """Settings, if there is a workspace; with --database the ledger can be verified without."""
    _ = invocation.ledger
    try:
        return invocation.settings
    except NotFoundError:
        return None


def _notes(settings: "Settings | None") -> tuple[dict[str, str], dict[str, str]]:
    """Tree heads in the directories of a workspace, and which of them could not be looked at."""
    from governance.outside import read_notes

    notes: dict[str, str] = {}
    unchecked: dict[str, str] = {}
    if settings is not None:
        notes |= read_notes(settings.checkpoint_dir)
        if (anchor := settings.anchor_directory) is not None:
            try:
                if not anchor.is_dir():
                    raise UnavailableError(f"{anchor} is not there")
                notes |= read_notes(anchor)
            except UnavailableError as error:
                unchecked["the anchor directory"] = str(error)
    return notes, unchecked


def _print(result: "Verification") -> None:
    click.echo(f"{result.events} events hold. Checked: {_counts(result.checked)}.")
    if result.head:
        click.echo(f"head {result.head}")
    if not result.outside:
        click.echo(
            "No checkpoint was found outside the ledger: that its end was cut off, or all of it"
        )
        click.echo(
            "written anew, would not be noticed. Take one with `governance audit checkpoint`."
        )
    else:
        found = "1 checkpoint" if result.outside == 1 else f"{result.outside} checkpoints"
        click.echo(
            f"{found} outside the ledger: the first {result.anchored} events are vouched for."
        )
    for fault in result.faults:
        click.echo(f"BAD {fault.where}: {fault.problem}")


def _counts(checked: Mapping[str, Any]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(checked.items())) or "nothing else"
