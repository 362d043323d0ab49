"""``governance dataset``: labelled images to evaluate on."""

from pathlib import Path

import click

from governance.cli.context import Invocation, common, pass_invocation, progress_bar, table


@click.group()
@common
def dataset() -> None:
    """Data sets to evaluate on."""


@dataset.command()
@click.argument("name")
@click.argument("location", type=click.Path(path_type=Path))
@click.option(
    "--role", type=click.Choice(["eval", "prototypes", "guard", "reference"]), default="eval",
    show_default=True,
    help="To measure with; prototypes never score; guard: classes that no label space names, measured with every edit; "
    "reference: unlabelled images, of which edits use the mean and the second moment only.",
)  # fmt: skip
@click.option("--skip-unreadable", is_flag=True, help="Leave out images that cannot be decoded.")
@common
@pass_invocation
def add(
    invocation: Invocation, name: str, location: Path, role: str, skip_unreadable: bool
) -> None:
    """Record the images at LOCATION as data set NAME.

    LOCATION is a directory domain/class/*.jpg or class/*.jpg, or a CSV file with the columns path, class and
    optionally domain; images of the role reference may lie anywhere in it. The images stay where they are; their
    digests are recorded.
    """
    from governance.datasets import DatasetRole
    from governance.workflow import datasets

    manifest = datasets.add(
        invocation.ledger, invocation.acting, name, location, DatasetRole(role), skip_unreadable,
        progress_bar,
    )  # fmt: skip
    classes = sorted({item.label for item in manifest.items})
    domains = sorted({item.domain for item in manifest.items if item.domain})
    record = {
        "name": name,
        "digest": manifest.digest,
        "images": len(manifest.items),
        "skipped": list(manifest.skipped),
        "classes": classes,
        "domains": domains,
    }

    def show() -> None:
        where = f", {len(domains)} domains" if domains else ""
        click.echo(f"Added {name}: {len(manifest.items)} images, {len(classes)} classes{where}.")
        for path in manifest.skipped:
            click.echo(f"Skipped, unreadable: {path}")

    invocation.emit(record, show)


@dataset.command("list")
@common
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the data sets."""
    from governance.ledger.lookup import every
    from governance.ledger.tables import Dataset
    from governance.reports.records import dataset_record

    with invocation.ledger.read() as session:
        records = [dataset_record(row) for row in every(session, Dataset)]
    keys = ["name", "role", "images", "skipped", "location"]
    invocation.emit(records, lambda: table([[r[key] for key in keys] for r in records], keys))


@dataset.command()
@click.argument("name")
@common
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show data set NAME and how many images it has of each class and domain."""
    from governance.datasets import Manifest
    from governance.ledger.lookup import find_dataset
    from governance.reports.records import dataset_record

    with invocation.ledger.read() as session:
        row = find_dataset(session, name)
        record = dataset_record(row)
        counts = Manifest.from_json(row.manifest).counts()
    by_class: dict[str, dict[str, int]] = {}
    for (label, domain), count in sorted(counts.items(), key=lambda item: str(item[0])):
        by_class.setdefault(label, {})[domain or "–"] = count
    domains = sorted({domain for row in by_class.values() for domain in row})

    def print_() -> None:
        click.echo(f"{name}: {record['images']} images at {record['location']}")
        click.echo(f"digest {record['digest']}")
        rows = [[label, *(row.get(d, 0) for d in domains)] for label, row in by_class.items()]
        table(rows, ["class", *domains])

    invocation.emit(record | {"counts": by_class}, print_)
