"""The whole path as command lines, for tests that disturb each of them."""

import os
from pathlib import Path
from time import time

SETUP = [
    ["init", "--admin", "ada"],
    ["actor", "add", "carla", "--role", "compliance"],
    ["actor", "add", "dmitri", "--role", "approver"],
    ["actor", "add", "mona", "--role", "mlops"],
]
REGISTER = ["model", "register", "shop", "--open-clip", "demo", "--actor", "mona"]
COMMANDS = {
    "file": ["request", "file", "--forget", "mug", "--basis", "bias", "--reason", "r",
             "--actor", "carla"],
    "prepare": ["request", "prepare", "1", "--actor", "mona"],
    "approve": ["request", "approve", "1", "--actor", "dmitri"],
    "apply": ["request", "apply", "1", "--actor", "mona"],
    "promote": ["version", "promote", "2", "--actor", "mona"],
    "export": ["version", "export", "2", "-o", "{home}/out", "--actor", "mona"],
    "drop": ["version", "rollback", "--drop", "1", "--reason", "r", "--actor", "mona"],
}  # fmt: skip
"""In the order in which they follow each other; {home} is the workspace."""

REPAIR = ["doctor", "--repair", "--actor", "mona"]
VERIFY = ["audit", "verify"]


def grow_old(home: Path) -> None:
    """As if hours had gone by: the doctor leaves files alone that somebody may be writing now."""
    for path in home.rglob("*"):
        if path.name.startswith(".") or path.suffix == ".partial":
            os.utime(path, (time() - 7200,) * 2)
