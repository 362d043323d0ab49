"""Endpoints in governance.toml: what is accepted, and what is explained."""

from datetime import timedelta
from pathlib import Path

import pytest

from governance.errors import InvalidInputError, NotFoundError
from governance.notifications import KINDS, Endpoint, Notifications
from governance.settings import CONFIG_NAME, config_text, load_settings

HOOK = 'url = "https://hooks.example/x?key=1"\nsecret_file = "keys/team.webhook"\n'


def parsed(home: Path, text: str) -> Notifications:
    (home / CONFIG_NAME).write_text(f"format = 1\n{text}", encoding="utf-8")
    return load_settings(home).notifications


def test_nobody_is_told_by_default(tmp_path: Path) -> None:
    assert parsed(tmp_path, "") == Notifications((), timedelta(days=7))


def test_what_the_new_configuration_suggests_is_accepted(tmp_path: Path) -> None:
    suggested = config_text("ada", None, None)
    begin = suggested.index("# [notify]")
    text = "\n".join(line.removeprefix("# ") for line in suggested[begin:].splitlines())
    found = parsed(tmp_path, text)
    assert [endpoint.name for endpoint in found.endpoints] == ["team", "log"]
    assert found.find("log") == Endpoint("log", file=tmp_path / "notifications.jsonl")
    team = found.find("team")
    assert team.secret_file == tmp_path / "keys" / "team.webhook"
    assert len(team.kinds) == 3


def test_an_endpoint(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        f"[notify]\ndue_soon_days = 3\n[notify.endpoints.team]\n{HOOK}timeout_s = 2.5\n"
        '[notify.endpoints."a.b-c_d"]\nurl = "http://[::1]:80/"\n'
        'secret_variable = "GOVERNANCE_WEBHOOK_A"\nkinds = ["integrity.failed"]\n'
        '[notify.endpoints.near]\nurl = "http://receiver:8080"\nplain_http = true\n'
        'secret_variable = "GOVERNANCE_WEBHOOK_A"\n',
    )
    assert found.due_soon == timedelta(days=3)
    team, other, near = found.endpoints
    assert (team.timeout_s, team.kinds, team.host) == (2.5, KINDS, "https://hooks.example")
    assert (other.name, other.kinds) == ("a.b-c_d", ("integrity.failed",))
    assert near.url == "http://receiver:8080"
    with pytest.raises(NotFoundError, match="no endpoint 'nobody'"):
        found.find("nobody")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("notify = 1", r"\[notify\] must be a table"),
        ("[notify]\nother = 1", "unknown key: notify.other"),
        ("[notify]\ndue_soon_days = -1", "0 to 3650"),
        ("[notify]\ndue_soon_days = true", "0 to 3650"),
        ("[notify]\nendpoints = 1", "a table for each endpoint"),
        ("[notify.endpoints]\nteam = 1", "must be a table"),
        (f'[notify.endpoints."a b"]\n{HOOK}', "is named with"),
        (f"[notify.endpoints.{'x' * 41}]\n{HOOK}", "is named with"),
        (f"[notify.endpoints.t]\n{HOOK}kind = 1", "unknown key: notify.endpoints.t.kind"),
        (f"[notify.endpoints.t]\n{HOOK}kinds = []", "must be a list of kinds"),
        (f"[notify.endpoints.t]\n{HOOK}kinds = ['x']", "has 'x'; there are request.filed"),
        (f"[notify.endpoints.t]\n{HOOK}kinds = [1]", "has 1; there are"),
        (f"[notify.endpoints.t]\n{HOOK}timeout_s = 0", "up to 60"),
        (f"[notify.endpoints.t]\n{HOOK}timeout_s = 61", "up to 60"),
        (f"[notify.endpoints.t]\n{HOOK}timeout_s = nan", "up to 60"),
        (f"[notify.endpoints.t]\n{HOOK}timeout_s = '1'", "up to 60"),
        (f"[notify.endpoints.t]\n{HOOK}file = 'x'", "either url or file"),
        ("[notify.endpoints.t]\n", "either url or file"),
        ("[notify.endpoints.t]\nurl = ''", "url must be a string"),
        ("[notify.endpoints.t]\nfile = 'x'\nsecret_file = 'y'", "needs no secret_file"),
        ("[notify.endpoints.t]\nurl = 'https://x'", "either secret_file or secret_variable"),
        (f"[notify.endpoints.t]\n{HOOK}secret_variable = 'GOVERNANCE_WEBHOOK_X'", "either secret"),
        ("[notify.endpoints.t]\nurl = 'https://x'\nsecret_variable = 'X'", "must begin with"),
        (f"[notify.endpoints.t]\n{HOOK}plain_http = 1", "true or false"),
        *(
            (f"[notify.endpoints.t]\nurl = '{url}'\nsecret_file = 'y'", "url")
            for url in ("ftp://x", "https://", "x", "https://u:p@x/", "https://x/ y", "https://ä/",
                        "https://x:99999/", "https://[x/", "http://hooks.example/")
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_explained(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        parsed(tmp_path, text)
