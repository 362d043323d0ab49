"""What happens: forty requests on two models, by eight people, with everything that goes wrong in a week."""

from pathlib import Path

from governance.registry import KEY_TAG
from tests.week.company import Company

POLICY = """\
format = 1
[gates]
max_forget_accuracy = 0.1
max_retain_drop = 0.03
[gates.scope.domain]
max_forget_accuracy = 0.3
max_retain_drop = 0.06
[gates.basis.court-order]
max_forget_accuracy = 0.05
[quorum.basis]
court-order = 2
"""

PEOPLE = {
    "carla": ["compliance"],
    "carlos": ["compliance", "approver"],
    "dmitri": ["approver"],
    "dora": ["approver"],
    "mona": ["mlops"],
    "miles": ["mlops"],
    "otto": ["auditor"],
}
"""Beside ada, the admin."""

CASES = {
    1: ("shop", "--forget mug", "court-order"),
    2: ("shop", "--forget cat --domain sketch", "licence"),
    3: ("shop", "--domain painting", "bias"),
    4: ("shop", "--forget star", "gdpr-17-1-a"),
    5: ("shop", "--forget fish --domain photo", "gdpr-17-1-d"),
    6: ("shop", "--forget key --domain cartoon", "policy"),
    7: ("shop", "--forget boat --domain photo --domain sketch", "licence"),
    8: ("shop", "--forget tree --domain painting", "gdpr-17-1-b"),
    9: ("shop", "--forget house", "bias"),
    10: ("shop", "--forget car", "licence"),
    11: ("shop", "--forget flower --domain sketch", "gdpr-17-1-c"),
    12: ("shop", "--forget cat --forget fish --domain cartoon", "licence"),
    13: ("search", "--forget key", "court-order"),
    14: ("search", "--domain sketch", "policy"),
    15: ("search", "--forget tree --domain photo", "licence"),
    16: ("search", "--forget mug --domain cartoon", "gdpr-17-1-d"),
    17: ("search", "--forget star", "bias"),
    18: ("search", "--forget house --domain painting", "gdpr-17-1-f"),
    19: ("shop", "--forget car --domain photo", "gdpr-17-1-a"),
    20: ("shop", "--forget house --domain cartoon", "licence"),
    21: ("search", "--forget boat", "licence"),
    22: ("search", "--forget flower --domain photo", "bias"),
    23: ("shop", "--forget star --domain sketch", "gdpr-17-1-d"),
    24: ("search", "--forget cat --domain cartoon", "policy"),
    25: ("shop", "--domain cartoon", "court-order"),
    26: ("shop", "--forget tree", "gdpr-17-1-e"),
    27: ("search", "--forget fish", "court-order"),
    28: ("search", "--forget car --domain painting", "licence"),
    29: ("shop", "--forget flower", "bias"),
    30: ("search", "--domain cartoon", "licence"),
    31: ("shop", "--forget key", "licence"),
    32: ("search", "--forget boat --domain sketch", "gdpr-17-1-a"),
    33: ("shop", "--forget house --domain photo", "gdpr-17-1-d"),
    34: ("search", "--forget tree", "policy"),
    35: ("shop", "--domain photo", "bias"),
    36: ("search", "--forget car", "gdpr-17-1-c"),
    37: ("shop", "--forget boat", "licence"),
    38: ("search", "--forget house", "bias"),
    39: ("shop", "--forget fish --domain sketch", "licence"),
    40: ("search", "--forget flower --domain sketch", "gdpr-17-1-b"),
}
"""Model, what is to be forgotten, and the ground, by number in the order of filing."""


def week(house: Company, images: Path, complaints: Path) -> None:
    """Take the company through it.

    Args:
        house: its command lines; the workspace does not exist yet.
        images: what every edit is measured on.
        complaints: what customers send in on Wednesday.
    """
    for day, work in (
        ("Monday", lambda: _monday(house, images)),
        ("Tuesday", lambda: _tuesday(house)),
        ("Wednesday", lambda: _wednesday(house, complaints)),
        ("Thursday", lambda: _thursday(house)),
        ("Friday", lambda: _friday(house)),
        ("Saturday", lambda: _saturday(house)),
        ("Sunday", lambda: _sunday(house)),
    ):
        house.say(f"\n# {day}")
        work()


def _monday(house: Company, images: Path) -> None:
    """People, rules, two models, images; eighteen requests."""
    house.run("ada", "init --admin ada")
    (house.home / "policy.toml").write_text(POLICY)
    with (house.home / "governance.toml").open("a") as file:
        file.write('\n[notify.endpoints.log]\nfile = "notifications.jsonl"\n')
        file.write(f'\n[anchor]\ndirectory = "{house.home.parent / "anchor"}"\n')
    (house.home.parent / "anchor").mkdir()
    house.together(
        ("ada", "policy adopt {home}/policy.toml --reason 'rules of the house'"),
        *(
            ("ada", f"actor add {name} " + " ".join(f"--role {role}" for role in roles))
            for name, roles in PEOPLE.items()
        ),
        ("mona", "model register shop --open-clip demo"),
        ("miles", "model register search --open-clip demo"),
        ("mona", f"dataset add eval {images}"),
        ("mona", "notify run"),
    )
    _file(house, range(1, 19))
    again = house.record("carla", _filing(2))
    assert again["id"] == 2  # the same content is the same case
    house.refused("mona", _filing(19), "compliance")
    house.refused("carla", _filing(19).replace("car ", "unicorn "), "unicorn", code=2)


def _tuesday(house: Company) -> None:
    """Four eyes, a quorum, a conflict; first versions of both models."""
    _file(house, range(19, 25))
    _prepare(house, "mona", [1, 2, 3, 4, 5, 6, 7, 8])
    _prepare(house, "miles", [13, 14, 15, 16, 17])
    house.refused("mona", "request approve 2", "approver")
    house.refused("carlos", "request approve 13", "carlos")  # filed it
    house.run("dmitri", "request reject 9 --comment 'no ground is shown'")
    house.run("carla", "request withdraw 10 --reason 'the licence was renewed'")
    house.refused("dora", "request approve 9", "rejected")
    for number in (1, 13):
        house.run("dmitri", f"request approve {number} --comment 'figures reviewed'")
        house.refused("dmitri", f"request approve {number}", "dmitri")
        house.run("dora", f"request approve {number}")
    seen = house.record("dora", "request show 2")["projector"]["digest"]
    house.run("mona", "request prepare 2 --overshoot 2.5 --dataset eval")
    house.refused("dora", f"request approve 2 --projector {seen}", "projector", code=5)
    house.together(*(("dora", f"request approve {n}") for n in (2, 4, 14, 15)))
    house.refused("mona", "request apply 5", "prepared")
    house.run("mona", "request apply 1 2 4")
    house.run("mona", "version promote 2 --model shop")
    house.run("miles", "request apply 13 14 15")
    house.refused("miles", "version promote 2 --model search --expect 2", "", code=5)
    house.run("miles", "version promote 2 --model search --expect 1")
    house.run("mona", "notify run")


def _wednesday(house: Company, complaints: Path) -> None:
    """The first bad release: customers send pictures of what should not have been lost, and it is taken back."""
    _file(house, range(25, 31))
    house.together(*(("dora", f"request approve {n}") for n in (3, 5, 6)))
    house.run("mona", "request apply 3 5 6")
    house.run("mona", "version promote 3 --model shop")
    house.run("carla", f"dataset add complaints {complaints}")
    house.run("otto", "version evaluate 3 --model shop --dataset complaints")
    house.run("mona", "version rollback --model shop --dry-run --reason 'complaints'")
    house.run("mona", "version rollback --model shop --expect 3 --reason 'customers complained'")
    assert _states(house, 3, 5, 6) == ["reinstated"] * 3
    house.run("carla", "request withdraw 3 --reason 'bias is dealt with in training'")
    house.together(*(("mona", f"request apply {n}") for n in (5, 6)))
    house.run("mona", "version promote 5 --model shop")


def _thursday(house: Company) -> None:
    """A crash in the middle of a version, and an operator who edits MLflow by hand."""
    _file(house, range(31, 35))
    _prepare(house, "miles", [20, 21, 22, 26])
    house.together(*(("dmitri", f"request approve {n}") for n in (7, 8, 16, 20, 21, 26)))
    house.crash("miles", "request apply 7 8", write=3)
    house.refused("otto", "doctor", "", code=6)
    house.run("mona", "doctor --repair")
    house.run("miles", "request apply 7 8")
    house.run("miles", "version promote 6 --model shop")
    house.run("miles", "request apply 16 21")
    house.run("miles", "version promote 3 --model search")
    house.run("otto", "audit verify")

    client = house.mlflow
    client.set_registered_model_alias("shop", "champion", "1")
    client.set_model_version_tag("search", "3", "governance.active_requests", "[]")
    client.delete_model_version_tag("shop", "2", "governance.digest")
    client.delete_model_version("shop", "4")
    other = client.get_model_version("shop", "2")
    stray = client.create_model_version("shop", other.source, other.run_id)
    house.refused("otto", "audit verify", "", code=6)
    house.refused("mona", "doctor --repair", "", code=6)  # a stranger's version it can only name
    assert KEY_TAG not in stray.tags
    client.delete_model_version("shop", stray.version)
    house.run("otto", "doctor")
    house.run("mona", "notify run")


def _friday(house: Company) -> None:
    """The second bad release, promoted over a gate that fails, and a request dropped out of the middle."""
    _file(house, range(35, 39))
    house.run("miles", "request prepare 35 --contraction 0.5 --shift 0 --dataset eval")
    house.refused("dora", "request approve 35", "fails")
    house.run("ada", "request approve 35 --override --reason 'the board wants it today'")
    house.run("miles", "request apply 35 20")
    house.refused("miles", "version promote 7 --model shop", "fails")
    house.run(
        "ada", "version promote 7 --model shop --override --reason 'the board wants it today'"
    )
    house.run("otto", "version diff 6 7 --model shop")
    house.run("miles", "version rollback --drop 35 --model shop --reason 'nothing was forgotten'")
    assert _states(house, 35, 20) == ["reinstated", "released"]
    house.run("carla", "request withdraw 35 --reason 'the board thought again'")
    house.run(
        "mona", "version rollback --drop 1 --model shop --reason 'settled with the plaintiff'"
    )
    assert _states(house, 1) == ["reinstated"]
    house.run("ada", "actor deactivate miles --reason 'left the company'")
    house.refused("miles", "request prepare 36", "miles")


def _saturday(house: Company) -> None:
    """Paperwork."""
    _file(house, range(39, 41))
    _prepare(house, "mona", [11, 12, 18, 23, 24])
    house.run("dora", "request reject 12 --comment 'too much at once'")
    house.run("carla", "request extend 25 --until 2031-01-01 --reason 'the court granted it'")
    house.together(*(("carla", f"request close {n} --reason 'done'") for n in (2, 4)))
    house.run("carla", "request hold 4 --reason 'litigation expected'")
    house.refused("carla", "request redact 4 --reason 'retention is over'", "hold")
    house.run("carla", "request lift 4 --reason 'no litigation came'")
    house.together(*(("carla", f"request redact {n} --reason 'asked for'") for n in (4, 9, 10)))
    house.run("ada", "actor add maria --role mlops")
    house.together(*(("dora", f"request approve {n}") for n in (11, 18, 22, 23, 24)))
    house.run("maria", "request apply 11 26")
    house.run("maria", "version promote 10 --model shop")
    house.run("maria", "request apply 18 22 24")
    # Two are taken out again before anybody is served by it, one out of the middle.
    for number in (24, 18):
        house.run("maria", f"version rollback --drop {number} --model search --reason 'too early'")
    house.run("maria", "version promote 6 --model search")
    house.run("maria", "version export 10 --model shop -o {home}/served")


def _sunday(house: Company) -> None:
    """Everything is looked at again."""
    house.run("mona", "notify run")
    house.run("otto", "audit checkpoint")
    house.run("mona", "doctor")
    house.run("otto", "audit verify")
    house.run("otto", "version verify 10 --model shop")
    house.run("otto", "version verify 10 {home}/served --model shop")
    house.run("otto", "report version 10 --model shop -o {home}/report.html")
    house.run("otto", "report version 10 --model shop -o {home}/report.json")
    house.run("otto", "audit export --all -o {home}/evidence.zip")
    house.run("otto", "audit check-bundle {home}/evidence.zip")
    house.run("otto", "metrics")


def _filing(number: int) -> str:
    model, what, basis = CASES[number]
    return f"request file --model {model} {what} --basis {basis} --reason 'case {number}'"


def _file(house: Company, numbers: range) -> None:
    """Carla files what concerns the shop, Carlos what concerns the search."""
    by = {"shop": "carla", "search": "carlos"}
    house.together(*((by[CASES[n][0]], _filing(n)) for n in numbers))


def _prepare(house: Company, actor: str, numbers: list[int]) -> None:
    house.together(*((actor, f"request prepare {n} --dataset eval") for n in numbers))


def _states(house: Company, *numbers: int) -> list[str]:
    return [house.record("otto", f"request show {n}")["state"] for n in numbers]
