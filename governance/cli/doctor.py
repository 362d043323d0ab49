"""``governance doctor``."""

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import click

from governance.cli.context import Invocation, common, pass_invocation, progress_bar
from governance.errors import IntegrityError

if TYPE_CHECKING:
    from governance.workflow.problems import Problem


@click.command()
@click.option("--repair", "mend", is_flag=True, help="Put right what can be put right.")
@click.option(
    "--quick", is_flag=True, help="Leave out the contents of files in MLflow and of exports."
)
@common
@pass_invocation
def doctor(invocation: Invocation, mend: bool, quick: bool) -> None:
    """Look for what interruptions and strangers left in the ledger, in MLflow and in the workspace.

    Every file of every version in MLflow, and of every exported directory that is still where it was made, is read and
    held against its signature on record. --quick leaves that out; it is no verification, and not kept as one.

    --repair makes MLflow and the workspace agree with the ledger, and closes steps that were begun and never ended.
    Every repair is on record. Use it while nobody else is at work: it ends their steps too. Exit code 6 if anything is
    wrong, or remains wrong after a repair.
    """
    from governance.workflow import doctor as medicine

    if mend:
        _ = invocation.acting
    begun = monotonic()
    place = medicine.Workplace(
        invocation.ledger,
        invocation.mirror,
        invocation.settings,
        quick,
        partial(progress_bar, unit="version"),
    )
    if mend:
        repaired, left = medicine.repair(place, invocation.acting)
    else:
        repaired, left = [], medicine.examine(place)
    from governance.checks import DOCTOR

    problems = [(problem.where, problem.problem) for problem in left]
    if not quick:  # or it would pass for a look at everything
        invocation.remember_check(DOCTOR, problems, 0, monotonic() - begun)
    record = {
        "repaired": [problem.to_dict() for problem in repaired],
        "problems": [problem.to_dict() for problem in left],
        "checked": {
            "versions": place.looked.versions,
            "files": place.looked.files,
            "exports": place.looked.exports,
        },
        "not_checked": place.looked.unchecked,
    }

    def show() -> None:
        for problem in repaired:
            click.echo(f"REPAIRED {problem.where}: {problem.problem}: {problem.remedy}")
        for problem in left:
            click.echo(f"BAD {problem.where}: {problem.problem} ({_what_helps(problem)})")
        if not left:
            click.echo("Nothing is wrong.")
        looked = place.looked
        click.echo(
            f"Checked: {looked.files} files of {looked.versions} versions in MLflow, "
            f"{looked.exports} exported {'directory' if looked.exports == 1 else 'directories'}."
        )
        for what in looked.unchecked:
            click.echo(f"Not checked: {what}")

    invocation.emit(record, show)
    if left:
        curable = not mend and any(problem.remedy is not None for problem in left)
        hint = "; see `governance doctor --repair`" if curable else ""
        what = "one thing is" if len(left) == 1 else f"{len(left)} things are"
        raise IntegrityError(f"{what} not as the ledger says{hint}")


def _what_helps(problem: "Problem") -> str:
    """What becomes of a problem, in a few words."""
    if problem.failure is not None:
        return f"the repair failed: {problem.failure}"
    if problem.remedy is not None:
        return f"--repair would {problem.remedy}"
    return f"not repairable here; {problem.advice}" if problem.advice else "not repairable here"
