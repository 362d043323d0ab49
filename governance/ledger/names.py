"""Names of actors, models and data sets."""

import re

from governance.errors import InvalidInputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


def check_name(what: str, name: str) -> None:
    """Accept names that are safe in file names, MLflow and events.

    Raises:
        InvalidInputError: the name is not of that form.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidInputError(
            f"{name!r} cannot name a{'n' if what[0] in 'aeiou' else ''} {what}: use letters, "
            "digits and . _ @ + -, beginning with a letter or digit, at most 100"
        )
