"""The root command, and the one place where an error becomes a line and an exit code."""

import os
import traceback
from collections.abc import Sequence
from functools import partial

import click

from governance import __version__
from governance.cli.context import Invocation, common
from governance.cli.lazy import LazyGroup
from governance.errors import GovernanceError, InvalidInputError, UnavailableError
from governance.telemetry import start_tracing

INTERRUPTED = 130

_EPILOG = """\b
Exit codes:
  0 done                      4 not found
  1 unexpected                5 conflict with a concurrent change
  2 usage or bad input        6 integrity failure
  3 refused by the workflow   7 an outside system is unavailable
"""

COMMANDS = {
    "init": ("governance.cli.init:init", "Make a workspace."),
    "demo": ("governance.cli.demo:demo", "Run the whole workflow on the embedded model."),
    "actor": ("governance.cli.actor:actor", "Who may do what."),
    "model": ("governance.cli.model:model", "Base models."),
    "dataset": ("governance.cli.dataset:dataset", "Data sets to evaluate on."),
    "request": ("governance.cli.request:request", "Forget requests: file, prepare, decide, apply."),
    "version": ("governance.cli.version:version", "Model versions: promote, roll back, export."),
    "policy": (
        "governance.cli.policy:policy",
        "Gates, quorum, roles and retention, and their history.",
    ),
    "audit": (
        "governance.cli.audit:audit",
        "The event log, its verification, bundles of evidence.",
    ),
    "doctor": ("governance.cli.doctor:doctor", "Find and repair what interruptions left."),
    "report": ("governance.cli.report:report", "Reports for people and programs."),
    "notify": ("governance.cli.notify:notify", "Tell webhooks and files what comes to pass."),
    "metrics": ("governance.cli.metrics:metrics", "Figures for Prometheus."),
    "db": ("governance.cli.db:db", "The ledger's schema."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="governance")
@partial(common, of_root=True)
@click.pass_context
def governance(ctx: click.Context) -> None:
    """Governed unlearning for CLIP models.

    File a request to forget a concept, prepare and approve a closed-form edit of the model, release it as a version,
    and keep a record of all of it that an auditor can verify. `governance demo` shows the whole path.
    """
    ctx.ensure_object(Invocation)


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are one line on stderr."""
    invocation = Invocation()
    end_tracing = start_tracing()
    try:
        invocation.begin_logging()
        # Without standalone mode click gives back the code of ctx.exit(), and raises everything else.
        code = governance.main(
            _checked(args), prog_name="governance", standalone_mode=False, obj=invocation
        )
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        invocation.complain(_usage(error), error, error.exit_code)
        return error.exit_code
    except GovernanceError as error:
        invocation.complain(str(error), error, error.exit_code)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(
            "Interrupted; nothing was half-written, so the command can be repeated.", err=True
        )
        return INTERRUPTED
    except SystemExit:
        # How click ends when the reader of a pipe went away (`| head`).
        return 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        code = UnavailableError.exit_code
        invocation.complain(f"{error.strerror or error}{where}", error, code)
        return code
    except Exception as error:
        if os.environ.get("GOVERNANCE_DEBUG"):
            traceback.print_exc()
        problem = f"unexpected {type(error).__name__}: {error} (GOVERNANCE_DEBUG=1 shows where)"
        invocation.complain(problem, error, 1)
        return 1
    finally:
        end_tracing()
        invocation.end_logging()


def _checked(args: Sequence[str]) -> list[str]:
    """Arguments that can be written into a UTF-8 record."""
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(f"{arg!r} is not valid UTF-8") from None
    return list(args)


def _usage(error: click.ClickException) -> str:
    """One line, where click would print the usage and a list."""
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message if context is None else f"{message} (see: {context.command_path} --help)"
