"""Where a command writes: around every transaction of the ledger, after every one of MLflow, around every file.

Tests count these points in an undisturbed run, and let something happen at each. The program knows nothing of this.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect

Point = Callable[[str, Path | None], None]
"""Called with the name of a point, and the file that was just written if there is one."""

_WRITES = ("INSERT", "UPDATE", "DELETE")


@contextmanager
def watch(point: Point) -> Iterator[None]:
    """Call `point` whenever something is about to be written or has been."""
    from governance.clip import export

    undo: list[Callable[[], None]] = []

    def replace(place: Any, name: str, value: Any) -> None:
        before = getattr(place, name)
        undo.append(lambda: setattr(place, name, before))
        setattr(place, name, value)

    def call(name: str, path: Path | None = None) -> None:
        point(re.sub(r"[0-9a-f]{12,}", "#", name), path)  # digests differ from run to run

    def notice(connection: Any, cursor: Any, statement: str, *rest: object) -> None:
        if statement.lstrip().upper().startswith(_WRITES):
            store = "MLflow" if "mlflow" in str(connection.engine.url.database) else "the ledger"
            connection.connection.info["writes"] = store

    event.listen(Engine, "before_cursor_execute", notice)
    undo.append(lambda: event.remove(Engine, "before_cursor_execute", notice))
    commit = DefaultDialect.do_commit

    def counted(self: DefaultDialect, connection: Any) -> None:
        store = connection.info.pop("writes", None)
        if store == "the ledger":
            call("before a commit of the ledger")
        commit(self, connection)
        if store is not None:
            call(f"after a commit of {store}")

    replace(DefaultDialect, "do_commit", counted)

    def around(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(source: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            # The file system decides in which order a directory is copied.
            ending = "file" if name == "copying" else Path(target).name
            if name == "moving":  # what is there before a copy is what the last write left
                call(f"before {name} {ending}")
            result = write(source, target, *args, **kwargs)
            call(f"after {name} {ending}", Path(target) if name == "copying" else None)
            return result

        return wrapper

    replace(os, "replace", around("moving", os.replace))
    replace(os, "rename", around("moving", os.rename))
    replace(shutil, "copyfile", around("copying", shutil.copyfile))

    def after(write: Callable[..., Any], name: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = write(*args, **kwargs)
            path = Path(name(*args))
            ending = path.suffix if path.suffix == ".partial" else path.name
            call(f"after writing {ending}", path if path.is_file() else None)
            return result

        return wrapper

    # What is there before such a write is what the last one left.
    replace(export, "save_file", after(export.save_file, lambda state, path: path))
    replace(Path, "write_text", after(Path.write_text, lambda path, *rest: path))
    replace(Path, "mkdir", after(Path.mkdir, lambda path, *rest: "a directory"))
    replace(Path, "unlink", after(Path.unlink, lambda path, *rest: path))
    try:
        yield
    finally:
        for step in reversed(undo):
            step()
