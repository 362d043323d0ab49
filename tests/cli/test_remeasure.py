"""``governance audit remeasure`` as a person uses it."""

from pathlib import Path
from typing import Any

import pytest

from governance.workflow import prepare
from tests.cli.conftest import Cli


def test_what_comes_out_again(prepared: Path, cli: Cli) -> None:
    shown = cli("audit", "remeasure", "request", "1").out
    assert "eval: " in shown
    assert "all of them came out again; largest difference 0\n" in shown
    (report,) = cli("audit", "remeasure", "request", "1", "--json").json["reports"]
    assert report["differences"] == []
    assert report["values"] > 500


def test_what_does_not_is_named(prepared: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = prepare.measure_request

    def flattered(*given: Any) -> dict[str, Any]:
        content = measure(*given)
        content["after"]["forget_accuracy"] = 0.5
        return content

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "measure_request", flattered)
        cli("request", "evaluate", "1", "--actor", "mona")
    found = cli("audit", "remeasure", "request", "1", expect=6)
    assert "BAD after.forget_accuracy: recorded 0.5, measured 0" in found.out
    assert found.err == (
        "Error: the report on eval does not come out again: after.forget_accuracy is recorded as "
        "0.5, and is 0\n"
    )


def test_bad_input(prepared: Path, cli: Cli) -> None:
    assert "there is no request 9" in cli("audit", "remeasure", "request", "9", expect=4).err
    assert "never measured" in cli("audit", "remeasure", "version", "1", expect=4).err
    words = ("audit", "remeasure", "request", "1")
    assert "--model goes with a version" in cli(*words, "--model", "shop", expect=2).err
    assert "--tolerance" in cli(*words, "--tolerance", "-1", expect=2).err
    assert "request" in cli("audit", "remeasure", "nothing", "1", expect=2).err
