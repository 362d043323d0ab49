"""``governance model``: base models."""

from dataclasses import replace
from pathlib import Path

import click

from governance.cli.context import Invocation, common, pass_invocation, table
from governance.errors import InvalidInputError


@click.group()
@common
def model() -> None:
    """Base models."""


@model.command()
@click.argument("name")
@click.option(
    "--open-clip", "source_name", metavar="MODEL", required=True,
    help="open_clip configuration (ViT-B-32), directory (local-dir:PATH), hf-hub:ORG/REPO, "
    "or `demo` for the embedded model.",
)  # fmt: skip
@click.option("--pretrained", metavar="TAG|FILE", help="Weights of a configuration.")
@click.option("--quick-gelu", is_flag=True, help="The weights were trained with QuickGELU.")
@click.option(
    "--labels", metavar="FILE", type=click.Path(path_type=Path),
    help="Label space: one class a line, or TOML with classes, domains and templates.",
)  # fmt: skip
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME",
    help="A domain of the label space, e.g. sketch; repeat for several.",
)  # fmt: skip
@click.option(
    "--trust-key", metavar="KEY",
    help="Public key that must have signed the directory: its id (sha256:…), base64, or a file.",
)  # fmt: skip
@click.option(
    "--license", "license_", metavar="NAME",
    help="Licence of the weights, for model cards (default: what the model's own card says).",
)  # fmt: skip
@common
@pass_invocation
def register(
    invocation: Invocation,
    name: str,
    source_name: str,
    pretrained: str | None,
    quick_gelu: bool,
    labels: Path | None,
    domains: tuple[str, ...],
    trust_key: str | None,
    license_: str | None,
) -> None:
    """Register a base model as NAME, with the label space it is used with.

    Takes the digest of its weights, makes sure that an edit can be folded into it, and embeds the prompts of every
    class and domain. It becomes version 1 of NAME in MLflow. A directory that `governance version export` signed
    must be as it was signed.
    """
    from governance.clip.source import DEMO, check_license, parse_source
    from governance.demo import LABELS_FILE
    from governance.evidence.keys import trusted_key_id
    from governance.unlearning.labels import parse_labels

    if source_name == DEMO:
        labels = labels or LABELS_FILE
    if labels is None:
        raise InvalidInputError("which classes? name them in a file and pass it with --labels FILE")
    try:
        text = labels.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the label file {labels} cannot be read: {error}") from error
    space = parse_labels(text, labels.suffix == ".toml", domains)
    source = parse_source(source_name, pretrained, quick_gelu)
    trusted = None if trust_key is None else trusted_key_id(trust_key)
    if license_ is not None:
        source = replace(source, license=check_license(license_))

    from governance.ledger.lookup import find_model
    from governance.reports.records import model_record
    from governance.workflow import models

    models.register(invocation.tools, invocation.acting, name, source, space, trusted)
    invocation.carry_heads()
    with invocation.ledger.read() as session:
        record = model_record(find_model(session, name)) | {"version": models.BASE_VERSION}

    def show() -> None:
        click.echo(f"Registered {name} ({source.describe()}) as version {models.BASE_VERSION}.")
        click.echo(
            f"d = {record['dimension']}, edits fold into {record['fold_path']}; "
            f"{len(space.classes)} classes, {len(space.domains)} domains"
        )
        click.echo(f"weights {record['weights_digest']}")

    invocation.emit(record, show)


@model.command("list")
@common
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the models."""
    from governance.ledger.lookup import every
    from governance.ledger.tables import Model
    from governance.reports.records import model_record

    with invocation.ledger.read() as session:
        records = [model_record(row) for row in every(session, Model)]
    rows = [
        (r["name"], r["source"]["name"], r["dimension"], len(r["labels"]["classes"]),
         len(r["labels"]["domains"]))
        for r in records
    ]  # fmt: skip
    invocation.emit(records, lambda: table(rows, ["name", "source", "d", "classes", "domains"]))


@model.command()
@click.argument("name", required=False)
@common
@pass_invocation
def show(invocation: Invocation, name: str | None) -> None:
    """Show a model and its label space."""
    from governance.ledger.lookup import find_model
    from governance.reports.records import model_record

    with invocation.ledger.read() as session:
        record = model_record(find_model(session, name))

    def print_() -> None:
        labels = record["labels"]
        rows = [
            ("name", record["name"]),
            ("source", record["source"]["name"]),
            ("weights", record["weights_digest"]),
            ("fold path", record["fold_path"]),
            ("d", record["dimension"]),
            ("classes", ", ".join(labels["classes"])),
            ("domains", ", ".join(labels["domains"]) or "none"),
            ("scored with", labels["score_template"]),
        ]
        table(rows, [])

    invocation.emit(record, print_)


@model.command()
@click.argument("name", required=False)
@common
@pass_invocation
def check(invocation: Invocation, name: str | None) -> None:
    """Load a model, verify its weights and fold a random edit at fp32, fp16 and bf16.

    The error is the largest difference between the edited tower and the edit of its features, relative to the largest
    feature. Where the CPU lacks an operation at a precision, weights are rounded to it and the rest is done at fp32;
    the column "arithmetic" says so.
    """
    from governance.workflow import models

    found, certificates = models.check(invocation.tools, name)
    error = next(c["error"] for c in certificates if c["precision"] == "fp32")
    record = {"name": found, "ok": True, "probe_error": error, "certificates": certificates}
    rows = [
        (c["side"], c["precision"], c["arithmetic"], f"{c['error']:.1e}", f"{c['tolerance']:.0e}")
        for c in certificates
    ]

    def print_() -> None:
        click.echo(f"{found}: weights as registered, a fold is exact to {error:.1e} relative")
        table(rows, ["tower", "weights", "arithmetic", "error", "allowed"])

    invocation.emit(record, print_)
