"""What the commands on keys share: public keys that people hand over, and the passphrases of new keys."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from governance.errors import InvalidInputError

if TYPE_CHECKING:
    from governance.evidence.keys import PublicKey

NEW_PASSPHRASE = "GOVERNANCE_NEW_KEY_PASSPHRASE"

_MAX_FILE = 64 * 1024


def read_public_key(text: str) -> "PublicKey":
    """A public key in base64, or in a file that holds it so, as `governance actor new-key` prints it.

    Raises:
        InvalidInputError: it is neither.
    """
    from governance.evidence.keys import PublicKey

    try:
        return PublicKey.from_base64(text)
    except InvalidInputError:
        path = Path(text)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{text!r} is neither a public key in base64 nor a file that holds one"
        ) from error
    if "PRIVATE KEY" in content:
        raise InvalidInputError(
            f"{path} holds a private key, which stays with its owner; hand over the public key that "
            "`governance actor new-key` printed"
        )
    try:
        return PublicKey.from_base64(content)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def new_passphrase(what: str) -> str:
    """Passphrase for a key that is about to be made: from the environment, or asked for twice.

    Raises:
        InvalidInputError: nobody is there to be asked, or it is empty.
    """
    given = os.environ.get(NEW_PASSPHRASE)
    if given is None:
        if not sys.stdin.isatty():
            raise InvalidInputError(
                f"a passphrase is needed for {what}: set {NEW_PASSPHRASE}, or run this on a terminal"
            )
        given = click.prompt(
            f"New passphrase for {what}", hide_input=True, confirmation_prompt=True, err=True
        )
    if not given:
        raise InvalidInputError("the passphrase must not be empty")
    return str(given)
