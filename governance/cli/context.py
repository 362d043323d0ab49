"""What every command shares: the global options, the workspace they lead to, and how results are printed."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from governance.errors import InvalidInputError
from governance.settings import KEYS_DIR, Settings, find_database, home_path, load_settings

if TYPE_CHECKING:
    from governance.evidence.keyring import Keyring
    from governance.ledger.database import Ledger
    from governance.registry import Registry
    from governance.workflow.checkpoints import Anchors
    from governance.workflow.tools import Tools

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

        ledger = Ledger(find_database(self.home, self.database), self.keyring)
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

    def carry_heads(self) -> None:
        """After a release: bring the signed tree heads outside, with a warning for each place that fails."""
        from governance.workflow.checkpoints import spread

        for place, error in spread(self.ledger, self.anchors()).failures.items():
            click.echo(
                f"Warning: the release stands, but its checkpoint did not reach {place}: {error}; "
                "try again with `governance audit checkpoint`",
                err=True,
            )

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


def places(command: Command) -> Command:
    """Add the options that say where and who."""
    for option in reversed(_PLACES):
        command = option(command)
    return command


def common(command: Command) -> Command:
    """Add the options that say where and who, and ``--json``."""
    return places(_JSON(command))


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)

NUMBER = click.IntRange(1, 2**31 - 1)
"""What numbers requests and versions."""

model_option = click.option(
    "--model", "model", metavar="NAME", help="Which model; not needed when there is only one."
)
dataset_option = click.option(
    "--dataset", metavar="NAME", help="Which data set; not needed when there is only one."
)


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
