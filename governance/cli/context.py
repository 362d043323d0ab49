"""What every command shares: the global options, the workspace they lead to, and how results are printed."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from governance import telemetry
from governance.errors import InvalidInputError, UnavailableError
from governance.paging import SIZE, Page
from governance.settings import KEYS_DIR, Settings, find_database, home_path, load_settings

if TYPE_CHECKING:
    from governance.evidence.cipher import Cipher
    from governance.evidence.keyring import Keyring
    from governance.ledger.database import Ledger
    from governance.registry import Registry
    from governance.workflow.checkpoints import Anchors
    from governance.workflow.tools import Tools

_LOG = {
    "format": (telemetry.FORMAT_VARIABLE, telemetry.FORMATS),
    "level": (telemetry.LEVEL_VARIABLE, telemetry.LEVELS),
}
"""Variable and choices of what can be said of log lines; the first is the default."""

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Invocation:
    """The global options of one command line, and what they open. Everything is opened when first needed."""

    home: str | None = None
    database: str | None = None
    tracking_uri: str | None = None
    actor: str | None = None
    json: bool = False
    new_passphrase: str | None = None
    log_format: str | None = None
    log_level: str | None = None
    _logging: Callable[[], None] | None = None

    def begin_logging(self) -> None:
        """Let log lines go where options and environment say; the last who says something is right.

        Raises:
            InvalidInputError: a variable holds something else than a format or a level.
        """
        self.end_logging()
        self._logging = telemetry.configure(self._chosen("format"), self._chosen("level"))

    def end_logging(self) -> None:
        """Let there be no more log lines."""
        if self._logging is not None:
            self._logging()
            self._logging = None

    def complain(self, problem: str, error: BaseException, exit_code: int) -> None:
        """Say why a command ends with an error: one line for people, or one of the log."""
        if self._logging is not None and self._chosen("format") == "json":
            telemetry.failed(problem, error, exit_code)
        else:
            click.echo(f"Error: {problem}", err=True)

    def _chosen(self, what: str) -> str:
        variable, choices = _LOG[what]
        chosen: str = getattr(self, f"log_{what}") or os.environ.get(variable) or choices[0]
        if chosen not in choices:
            raise InvalidInputError(f"{variable} must be {' or '.join(choices)}, not {chosen!r}")
        return chosen

    @cached_property
    def settings(self) -> Settings:
        """Settings of the workspace.

        Raises:
            NotFoundError: there is none.
        """
        return load_settings(self.home, self.database, self.tracking_uri, self.actor)

    @cached_property
    def ledger(self) -> "Ledger":
        """The ledger."""
        from governance.ledger.database import Ledger

        ledger = Ledger(find_database(self.home, self.database), self.keyring, self.cipher)
        click.get_current_context().call_on_close(ledger.dispose)
        return ledger

    @cached_property
    def keyring(self) -> "Keyring":
        """Private keys of the workspace and the environment; read when something is signed."""
        from governance.evidence.keyring import Keyring

        acting = self.actor or os.environ.get("GOVERNANCE_ACTOR")
        directory = home_path(self.home) / KEYS_DIR
        return Keyring(directory, acting, ask_passphrase, self.new_passphrase)

    @cached_property
    def cipher(self) -> "Cipher | None":
        """Data keys of private texts, from the environment or the workspace; None if there are none."""
        from governance.evidence.cipher import find_cipher

        return find_cipher(home_path(self.home) / KEYS_DIR)

    @cached_property
    def registry(self) -> "Registry":
        """MLflow; importing it takes seconds, so what can fail at once fails before."""
        _ = self.settings, self.acting
        return self.mirror

    @cached_property
    def mirror(self) -> "Registry":
        """MLflow, for whoever only reads."""
        settings = self.settings

        from governance.registry import Registry

        return Registry(settings.tracking_uri, settings.artifact_dir)

    def anchors(self, mlflow: bool = True) -> "Anchors":
        """Where signed tree heads go, with or without MLflow."""
        from governance.workflow.checkpoints import Anchors

        settings = self.settings
        return Anchors(
            settings.checkpoint_dir,
            settings.anchor_directory,
            settings.anchor_command,
            (lambda: self.registry) if mlflow else None,
        )

    def remember_check(
        self, what: str, faults: Sequence[tuple[str, str]], events: int, seconds: float
    ) -> None:
        """Keep what a verification came to in the workspace, with a warning if it takes nothing."""
        from governance.checks import make_check, write_check

        at = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            write_check(self.settings.checks_file, make_check(what, at, faults, events, seconds))
        except UnavailableError as error:
            click.echo(f"Warning: the outcome is not kept: {error}", err=True)

    def carry_heads(self, done: str = "the release stands", mlflow: bool = True) -> None:
        """After what signs a tree head: bring the heads outside, with a warning for each place that fails."""
        from governance.workflow.checkpoints import spread

        for place, error in spread(self.ledger, self.anchors(mlflow)).failures.items():
            click.echo(
                f"Warning: {done}, but its checkpoint did not reach {place}: {error}; "
                "try again with `governance audit checkpoint`",
                err=True,
            )

    def keep_heads(self) -> None:
        """After a verification: copy the heads into the workspace, with a warning if it takes none."""
        from governance.workflow.checkpoints import Anchors, spread

        for place, error in spread(
            self.ledger, Anchors(self.settings.checkpoint_dir)
        ).failures.items():
            click.echo(f"Warning: checkpoints were not copied to {place}: {error}", err=True)

    @cached_property
    def tools(self) -> "Tools":
        """Ledger, MLflow and models; importing them takes seconds."""
        registry = self.registry

        from governance.clip.encoder import Encoder
        from governance.workflow.tools import Tools

        return Tools(self.ledger, registry, Encoder(self.settings.cache_dir), progress_bar)

    @property
    def acting(self) -> str:
        """Name of the acting person.

        Raises:
            InvalidInputError: nobody says who it is.
        """
        if self.settings.actor is None:
            raise InvalidInputError("who acts? say so with --actor NAME or GOVERNANCE_ACTOR")
        return self.settings.actor

    def emit(self, record: Any, show: Callable[[], None]) -> None:
        """Print a result: `record` with ``--json``, otherwise whatever `show` prints."""
        if self.json:
            click.echo(json.dumps(record, indent=2, ensure_ascii=False))
        else:
            show()


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Keep a global option; one given to the subcommand wins over one given before it."""
    invocation = ctx.ensure_object(Invocation)
    if value == "":
        raise click.BadParameter("must not be empty", ctx, param)
    if value and param.name is not None:
        setattr(invocation, param.name, value)
    return value


_PLACES = (
    click.option(
        "--home", metavar="DIR", expose_value=False, callback=_remember,
        help="Workspace directory (GOVERNANCE_HOME; default ./.governance).",
    ),
    click.option(
        "--database", metavar="URL", expose_value=False, callback=_remember,
        help="Ledger database (GOVERNANCE_DATABASE_URL; default SQLite in the home).",
    ),
    click.option(
        "--tracking-uri", metavar="URI", expose_value=False, callback=_remember,
        help="MLflow (MLFLOW_TRACKING_URI; default SQLite in the home).",
    ),
    click.option(
        "--actor", metavar="NAME", expose_value=False, callback=_remember,
        help="Who acts (GOVERNANCE_ACTOR; default from governance.toml).",
    ),
)  # fmt: skip
_JSON = click.option(
    "--json", is_flag=True, expose_value=False, callback=_remember, help="Print the record as JSON."
)


def _remember_log(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Keep an option of log lines, and let it hold from now on."""
    _remember(ctx, param, value)
    if value and not ctx.resilient_parsing:
        ctx.ensure_object(Invocation).begin_logging()
    return value


def log_options(command: Command, hidden: bool) -> Command:
    """Add the options of log lines."""
    for what, (variable, choices) in reversed(_LOG.items()):
        command = click.option(
            f"--log-{what}", type=click.Choice(choices), expose_value=False, hidden=hidden,
            callback=_remember_log,
            help=f"{what.capitalize()} of log lines on stderr ({variable}; default {choices[0]}).",
        )(command)  # fmt: skip
    return command


def places(command: Command, of_root: bool = False) -> Command:
    """Add the options that say where and who; those of log lines, too, which only the root command's help names."""
    for option in reversed(_PLACES):
        command = option(command)
    return log_options(command, hidden=not of_root)


def common(command: Command, of_root: bool = False) -> Command:
    """Add the options that say where and who, and ``--json``."""
    return places(_JSON(command), of_root)


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)

FOR_EVER = "Why; kept in the log for ever, so no personal data."
"""Help of a reason that nobody can erase."""

ERASABLE = "kept until the request is redacted; the log holds a salted commitment."
"""End of the help of what people write or attach."""

NUMBER = click.IntRange(1, 2**31 - 1)
"""What numbers requests and versions."""

model_option = click.option(
    "--model", "model", metavar="NAME", help="Which model; not needed when there is only one."
)
dataset_option = click.option(
    "--dataset", metavar="NAME", help="Which data set; not needed when there is only one."
)


_OVERRIDE = click.option(
    "--override", is_flag=True,
    help="Although a gate fails. Needs --reason and a role that the policy names; every report says so.",
)  # fmt: skip
_OVERRIDE_REASON = click.option("--reason", help=f"Of an override. {FOR_EVER}")


expect_option = click.option(
    "--expect", type=NUMBER, metavar="N",
    help="Only if version N is served, as you saw; otherwise nothing changes, exit code 5.",
)  # fmt: skip


def override_options(command: Command) -> Command:
    """Add the options of an override."""
    return _OVERRIDE(_OVERRIDE_REASON(command))


def override_reason(override: bool, reason: str | None) -> str | None:
    """The reason of an override, None if there is none."""
    if override and reason is None:
        raise click.UsageError("--override needs --reason: why it may pass although a gate fails")
    if reason is not None and not override:
        raise click.UsageError(
            "--reason is for --override; what is kept erasable goes into --comment"
        )
    return reason


def paged(command: Command) -> Command:
    """Add the options of a long list; the command gets a `page`."""

    @wraps(command)
    def turned(
        *args: Any,
        limit: int | None,
        after: int | None,
        newest: bool,
        everything: bool,
        **rest: Any,
    ) -> Any:
        if everything and limit is not None:
            raise InvalidInputError("--all and --limit exclude each other")
        size = None if everything else limit or SIZE
        return command(*args, page=Page(size, after, newest), **rest)

    for option in reversed(_PAGES):
        turned = option(turned)
    return cast(Command, turned)


_PAGES = (
    click.option(
        "--limit", type=NUMBER, metavar="N", help=f"How many at most; {SIZE} if not given."
    ),
    click.option("--after", type=NUMBER, metavar="N", help="Go on after this one."),
    click.option("--newest", is_flag=True, help="Newest first."),
    click.option("--all", "everything", is_flag=True, help="All of them, however many."),
)


def tell_more(page: Page, more: bool, last: int) -> None:
    """Say on standard error that a list goes on, and how to read on."""
    if more:
        newest = " --newest" if page.newest else ""
        click.echo(f"There are more; go on with{newest} --after {last}, or use --all.", err=True)


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> None:
    """Print rows in columns."""
    from tabulate import tabulate

    click.echo(tabulate(rows, headers, tablefmt="simple", disable_numparse=True))


def fraction(value: float | None) -> str:
    """An accuracy for people."""
    return "–" if value is None else f"{value:.3f}"


def ask_passphrase(what: str) -> str | None:
    """Passphrase of an encrypted key, if somebody is there to be asked."""
    if not sys.stdin.isatty():
        return None
    answer: str = click.prompt(f"Passphrase of {what}", hide_input=True, err=True)
    return answer


@contextmanager
def progress_bar(what: str, total: int, unit: str = "image") -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=unit, disable=None, leave=False) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        yield advance
