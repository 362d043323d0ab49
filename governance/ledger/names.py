"""Names of actors, models and data sets, and how events name a version."""

import re

from governance.errors import InvalidInputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


def with_article(noun: str) -> str:
    """The noun with its article: "an actor", "a model"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def check_name(what: str, name: str) -> None:
    """Accept names that are safe in file names, MLflow and events.

    Raises:
        InvalidInputError: the name is not of that form.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidInputError(
            f"{name!r} cannot name {with_article(what)}: use letters, "
            "digits and . _ @ + -, beginning with a letter or digit, at most 100"
        )


def subject_of(model: str, number: int) -> str:
    """How events name a version."""
    return f"version:{model}/{number}"
