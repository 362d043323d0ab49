"""``governance doctor``."""

from time import monotonic

import click

from governance.cli.context import Invocation, common, pass_invocation
from governance.errors import IntegrityError


@click.command()
@click.option("--repair", "mend", is_flag=True, help="Put right what can be put right.")
@common
@pass_invocation
def doctor(invocation: Invocation, mend: bool) -> None:
    """Look for what interruptions left in the ledger, in MLflow and in the workspace.

    --repair makes MLflow and the workspace agree with the ledger, and closes steps that were begun and never ended.
    Every repair is on record. Use it while nobody else is at work: it ends their steps too. Exit code 6 if anything is
    wrong, or remains wrong after a repair.
    """
    from governance.workflow import doctor as medicine

    if mend:
        _ = invocation.acting
    begun = monotonic()
    place = medicine.Workplace(invocation.ledger, invocation.mirror, invocation.settings)
    if mend:
        repaired, left = medicine.repair(place, invocation.acting)
    else:
        repaired, left = [], medicine.examine(place)
    from governance.checks import DOCTOR

    problems = [(problem.where, problem.problem) for problem in left]
    invocation.remember_check(DOCTOR, problems, 0, monotonic() - begun)
    record = {
        "repaired": [problem.to_dict() for problem in repaired],
        "problems": [problem.to_dict() for problem in left],
    }

    def show() -> None:
        for problem in repaired:
            click.echo(f"REPAIRED {problem.where}: {problem.problem}: {problem.remedy}")
        for problem in left:
            remedy = f"--repair would {problem.remedy}" if problem.remedy else "not repairable here"
            click.echo(f"BAD {problem.where}: {problem.problem} ({remedy})")
        if not left:
            click.echo("Nothing is wrong.")

    invocation.emit(record, show)
    if left:
        hint = "" if mend else "; see `governance doctor --repair`"
        raise IntegrityError(f"{len(left)} things are not as the ledger says{hint}")
