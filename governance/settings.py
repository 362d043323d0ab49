"""Where a workspace keeps its things, and what its configuration file says.

Order of precedence: command-line flag, environment variable, ``governance.toml`` in the home, default.
"""

import json
import os
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from governance.errors import InvalidInputError, NotFoundError
from governance.notifications import Notifications, parse_notifications

CONFIG_NAME = "governance.toml"
KEYS_DIR = "keys"
DEFAULT_HOME = Path(".governance")
FORMAT = 1

_CONFIG_TEXT = """\
# Workspace of `governance`. Flags and environment variables take precedence over this file.
format = {format}

# Who acts when neither --actor nor GOVERNANCE_ACTOR says so.
actor = {actor}

# The ledger (default: SQLite in this directory).
{database}

# MLflow tracking and registry (default: SQLite in this directory).
{tracking_uri}

# Where signed tree heads are kept besides, out of reach of whoever changes the database: a directory on another
# machine, a command that gets each one on standard input (its size in GOVERNANCE_CHECKPOINT_SIZE), or both.
# [anchor]
# directory = "/mnt/elsewhere/checkpoints"
# command = ["ssh", "anchor@elsewhere", "cat >> checkpoints"]

# Who is told by `governance notify run`: webhooks, signed as Standard Webhooks says, and files. docs/operations.md has
# more, and the kinds of messages, all of which are sent if `kinds` names none.
# [notify]
# due_soon_days = 7
# [notify.endpoints.team]
# url = "https://hooks.example/governance"
# secret_file = "keys/team.webhook"
# kinds = ["request.due_soon", "request.overdue", "integrity.failed"]
# [notify.endpoints.log]
# file = "notifications.jsonl"
"""


@dataclass(frozen=True)
class Settings:
    """Everything that names a place or a person, resolved once for a command."""

    home: Path
    database_url: str
    tracking_uri: str
    actor: str | None = None
    anchor_directory: Path | None = None
    anchor_command: tuple[str, ...] = ()
    notifications: Notifications = field(default_factory=Notifications)

    @property
    def cache_dir(self) -> Path:
        """Embeddings, safe to delete: they are computed again when needed."""
        return self.home / "cache"

    @property
    def keys_dir(self) -> Path:
        """Private keys of the people who work here, one file each, mode 0600."""
        return self.home / KEYS_DIR

    @property
    def checkpoint_dir(self) -> Path:
        """Signed tree heads, so that they lie outside the database."""
        return self.home / "checkpoints"

    @property
    def departures_dir(self) -> Path:
        """Where exports are going that were begun and have not ended."""
        return self.home / "departures"

    @property
    def aside_dir(self) -> Path:
        """What a repair found in the place of something else."""
        return self.home / "aside"

    @property
    def checks_file(self) -> Path:
        """What verifications came to."""
        return self.home / "checks.jsonl"

    @property
    def artifact_dir(self) -> Path:
        """Where the default MLflow store keeps artifacts."""
        return self.home / "mlartifacts"


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{path.resolve().as_posix()}"


def config_text(actor: str, database_url: str | None, tracking_uri: str | None) -> str:
    """Content of a new workspace's configuration file, naming the stores that are not the default ones."""
    return _CONFIG_TEXT.format(
        format=FORMAT,
        actor=_quoted(actor),
        database=_setting("database", database_url, "postgresql+psycopg://user@host/governance"),
        tracking_uri=_setting("tracking_uri", tracking_uri, "http://localhost:5000"),
    )


def _setting(key: str, value: str | None, example: str) -> str:
    return f"# {key} = {_quoted(example)}" if value is None else f"{key} = {_quoted(value)}"


def _quoted(text: str) -> str:
    """A TOML basic string: a JSON one without surrogate pairs, and DEL escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def home_path(home: str | Path | None) -> Path:
    """The workspace directory from the flag, ``GOVERNANCE_HOME`` or the default, made absolute."""
    return Path(home or os.environ.get("GOVERNANCE_HOME") or DEFAULT_HOME).absolute()


def load_settings(
    home: str | Path | None = None,
    database_url: str | None = None,
    tracking_uri: str | None = None,
    actor: str | None = None,
) -> Settings:
    """Settings of an existing workspace.

    Raises:
        NotFoundError: `home` is not a workspace.
        InvalidInputError: its configuration file cannot be used.
    """
    directory = home_path(home)
    path = directory / CONFIG_NAME
    if not path.is_file():
        raise NotFoundError(
            f"{directory} is not a workspace (it has no {CONFIG_NAME}); make one with "
            "`governance init`, or name another with --home or GOVERNANCE_HOME"
        )
    settings = _from_config(directory, _read_config(path), path)
    environment = os.environ
    return replace(
        settings,
        database_url=database_url
        or environment.get("GOVERNANCE_DATABASE_URL")
        or settings.database_url,
        tracking_uri=tracking_uri
        or environment.get("MLFLOW_TRACKING_URI")
        or settings.tracking_uri,
        actor=actor or environment.get("GOVERNANCE_ACTOR") or settings.actor,
    )


def find_database(home: str | Path | None = None, database_url: str | None = None) -> str:
    """URL of the ledger; a workspace is needed only if neither flag nor environment names one.

    Raises:
        NotFoundError: nothing names one and `home` is not a workspace.
    """
    named = database_url or os.environ.get("GOVERNANCE_DATABASE_URL")
    return named or load_settings(home).database_url


def new_settings(
    home: Path, database_url: str | None, tracking_uri: str | None, actor: str
) -> Settings:
    """Settings of a workspace that is about to be made."""
    return Settings(
        home=home,
        database_url=database_url
        or os.environ.get("GOVERNANCE_DATABASE_URL")
        or _sqlite_url(home / "ledger.db"),
        tracking_uri=tracking_uri
        or os.environ.get("MLFLOW_TRACKING_URI")
        or _sqlite_url(home / "mlflow.db"),
        actor=actor,
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error


def _from_config(home: Path, config: dict[str, Any], path: Path) -> Settings:
    unknown = config.keys() - {"format", "actor", "database", "tracking_uri", "anchor", "notify"}
    if unknown:
        raise InvalidInputError(f"{path} has an unknown key: {', '.join(sorted(unknown))}")
    if type(config.get("format")) is not int or config["format"] != FORMAT:
        raise InvalidInputError(
            f"{path} has format {config.get('format')!r}; this program reads format {FORMAT}"
        )
    for key in ("actor", "database", "tracking_uri"):
        if not isinstance(config.get(key, ""), str):
            raise InvalidInputError(f"{path}: {key} must be a string")
    directory, command = _anchor(home, config.get("anchor", {}), path)
    return Settings(
        home=home,
        database_url=config.get("database") or _sqlite_url(home / "ledger.db"),
        tracking_uri=config.get("tracking_uri") or _sqlite_url(home / "mlflow.db"),
        actor=config.get("actor"),
        anchor_directory=directory,
        anchor_command=command,
        notifications=parse_notifications(home, config.get("notify", {}), path),
    )


def _anchor(home: Path, table: Any, path: Path) -> tuple[Path | None, tuple[str, ...]]:
    if not isinstance(table, dict):
        raise InvalidInputError(f"{path}: [anchor] must be a table")
    unknown = table.keys() - {"directory", "command"}
    if unknown:
        raise InvalidInputError(f"{path} has an unknown key: anchor.{sorted(unknown)[0]}")
    directory, command = table.get("directory"), table.get("command", [])
    if directory is not None and (not isinstance(directory, str) or not directory):
        raise InvalidInputError(f"{path}: anchor.directory must be the name of a directory")
    if not isinstance(command, list) or not all(isinstance(w, str) and w for w in command):
        raise InvalidInputError(
            f"{path}: anchor.command must be a list of the program and its arguments"
        )
    return None if directory is None else home / directory, tuple(command)
