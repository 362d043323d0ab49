"""What can be told to whom: the kinds of messages, and the endpoints that ``governance.toml`` names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from governance.errors import InvalidInputError, NotFoundError

DUE_SOON = "request.due_soon"
OVERDUE = "request.overdue"
INTEGRITY = "integrity.failed"
ROLLED_BACK = "version.rolled_back"
TEST = "notify.test"

EVENT_KINDS = (
    "request.filed",
    "request.prepared",
    "request.approved",
    "request.rejected",
    "request.withdrawn",
    "request.extended",
    "request.applied",
    "request.released",
    "request.reinstated",
    "request.closed",
    "version.promoted",
)
"""Actions of the events that are told; one that promotes by going back is told as `ROLLED_BACK`."""

KINDS = (*EVENT_KINDS, ROLLED_BACK, DUE_SOON, OVERDUE, INTEGRITY)
"""Every kind of message that an endpoint can ask for."""

VARIABLE_PREFIX = "GOVERNANCE_WEBHOOK_"
"""Beginning of the names of environment variables that hold secrets of endpoints."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_KEYS = {"url", "file", "secret_file", "secret_variable", "kinds", "timeout_s", "plain_http"}


@dataclass(frozen=True)
class Endpoint:
    """Somebody who is told: a webhook, or a file that gets one line for each message.

    Attributes:
        name: by which the ledger knows it.
        url: of a webhook; it may hold a secret, so it is neither printed nor stored.
        file: instead of a URL.
        secret_file, secret_variable: where the webhook's signing secret is.
        kinds: of messages that it wants.
        timeout_s: for one attempt, from the connection to the answer.
    """

    name: str
    url: str | None = None
    file: Path | None = None
    secret_file: Path | None = None
    secret_variable: str | None = None
    kinds: tuple[str, ...] = KINDS
    timeout_s: float = 15.0

    @property
    def host(self) -> str:
        """Scheme and host of the URL; path and query may hold a secret."""
        parts = urlsplit(self.url or "")
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class Notifications:
    """What the configuration says about notifications.

    Attributes:
        endpoints: who is told.
        due_soon: how long before its deadline a request is due soon.
    """

    endpoints: tuple[Endpoint, ...] = ()
    due_soon: timedelta = timedelta(days=7)

    def find(self, name: str) -> Endpoint:
        """The endpoint of that name.

        Raises:
            NotFoundError: there is none.
        """
        for endpoint in self.endpoints:
            if endpoint.name == name:
                return endpoint
        raise NotFoundError(
            f"governance.toml has no endpoint {name!r}; see: governance notify endpoints"
        )


def parse_notifications(home: Path, table: Any, path: Path) -> Notifications:
    """The table ``[notify]`` of a configuration file.

    Args:
        home: where relative files lie.
        table: as TOML gives it.
        path: of the file, for errors.

    Raises:
        InvalidInputError: it cannot be used as it is.
    """
    if not isinstance(table, dict):
        raise InvalidInputError(f"{path}: [notify] must be a table")
    _only({"due_soon_days", "endpoints"}, table, "notify", path)
    days = table.get("due_soon_days", 7)
    if type(days) is not int or not 0 <= days <= 3650:
        raise InvalidInputError(f"{path}: notify.due_soon_days must be a number of days, 0 to 3650")
    endpoints = table.get("endpoints", {})
    if not isinstance(endpoints, dict):
        raise InvalidInputError(f"{path}: notify.endpoints must hold a table for each endpoint")
    found = tuple(_endpoint(home, name, values, path) for name, values in endpoints.items())
    return Notifications(found, timedelta(days=days))


def _endpoint(home: Path, name: str, values: Any, path: Path) -> Endpoint:
    where = f"notify.endpoints.{name}"
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{path}: an endpoint is named with 1 to 40 letters, digits, dots, hyphens and underscores, not {name!r}"
        )
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}: {where} must be a table")
    _only(_KEYS, values, where, path)
    for key in ("url", "file", "secret_file", "secret_variable"):
        if key in values and not (isinstance(values[key], str) and values[key]):
            raise InvalidInputError(f"{path}: {where}.{key} must be a string")
    timeout = values.get("timeout_s", 15)
    if type(timeout) not in (int, float) or not 0 < timeout <= 60:
        raise InvalidInputError(f"{path}: {where}.timeout_s must be a number of seconds up to 60")
    url, file = values.get("url"), values.get("file")
    if (url is None) == (file is None):
        raise InvalidInputError(f"{path}: {where} must have either url or file")
    secrets = [key for key in ("secret_file", "secret_variable") if key in values]
    if url is not None:
        _check_url(url, values.get("plain_http", False), where, path)
        if len(secrets) != 1:
            raise InvalidInputError(
                f"{path}: {where} must have either secret_file or secret_variable; make a secret "
                "with `governance notify new-secret`"
            )
    elif secrets:
        raise InvalidInputError(f"{path}: {where} is a file, which needs no {secrets[0]}")
    variable = values.get("secret_variable")
    if variable is not None and not variable.startswith(VARIABLE_PREFIX):
        raise InvalidInputError(
            f"{path}: {where}.secret_variable must begin with {VARIABLE_PREFIX}"
        )
    secret_file = values.get("secret_file")
    return Endpoint(
        name=name,
        url=url,
        file=None if file is None else home / file,
        secret_file=None if secret_file is None else home / secret_file,
        secret_variable=variable,
        kinds=_kinds(values.get("kinds", list(KINDS)), where, path),
        timeout_s=float(timeout),
    )


def _kinds(given: Any, where: str, path: Path) -> tuple[str, ...]:
    if not isinstance(given, list) or not given:
        raise InvalidInputError(f"{path}: {where}.kinds must be a list of kinds")
    for kind in given:
        if kind not in KINDS:
            raise InvalidInputError(
                f"{path}: {where}.kinds has {kind!r}; there are {', '.join(KINDS)}"
            )
    return tuple(given)


def _check_url(url: str, plain_http: Any, where: str, path: Path) -> None:
    if type(plain_http) is not bool:
        raise InvalidInputError(f"{path}: {where}.plain_http must be true or false")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInputError(f"{path}: {where}.url is no URL: {error}") from error
    clean = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or not clean or parts.username is not None:
        raise InvalidInputError(
            f"{path}: {where}.url must be an https:// URL without user name and blanks"
        )
    if parts.scheme == "http" and not plain_http and not _is_loopback(host):
        raise InvalidInputError(
            f"{path}: {where}.url is not encrypted; use https://, or say plain_http = true if the "
            "network in between is trusted"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _only(known: set[str], table: Mapping[str, Any], where: str, path: Path) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        raise InvalidInputError(f"{path} has an unknown key: {where}.{unknown[0]}")
