"""``governance metrics``."""

from pathlib import Path

import click

from governance.cli.context import Invocation, common, pass_invocation
from governance.errors import NotFoundError
from governance.notifications import Notifications


@click.command()
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Write them there, all at once, for the textfile collector of node_exporter.",
)  # fmt: skip
@common
@pass_invocation
def metrics(invocation: Invocation, path: Path | None) -> None:
    """Print the figures of ledger and workspace in the text format of Prometheus.

    Requests by state, overdue and due soon, refusals, versions, events, notifications, and the last `audit verify` and
    `doctor` of this workspace. The ledger is only read.
    """
    import json

    from governance.checks import newest_checks, read_checks
    from governance.outside import replace_text
    from governance.reports.metrics import collect, exposition

    _ = invocation.ledger
    try:
        settings = invocation.settings
        notifications = settings.notifications
        checks = newest_checks(read_checks(settings.checks_file))
    except NotFoundError:  # with --database there need be no workspace
        notifications, checks = Notifications(), {}
    with invocation.ledger.read() as session:
        families = collect(session, notifications, checks)
    if invocation.json:
        text = json.dumps([family.to_dict() for family in families], indent=2) + "\n"
    else:
        text = exposition(families)
    if path is None:
        click.echo(text, nl=False)
    else:
        replace_text(path, text)
