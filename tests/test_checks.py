"""What verifications came to, kept in a file that interruptions cannot spoil."""

from dataclasses import replace
from pathlib import Path

import pytest

from governance.checks import (
    AUDIT,
    DOCTOR,
    Check,
    make_check,
    new_failures,
    newest_checks,
    read_checks,
    write_check,
)
from governance.errors import UnavailableError
from governance.webhooks import Outcome, append_line

AT = "2026-01-01T00:00:00+00:00"


def check(*faults: tuple[str, str], what: str = AUDIT) -> Check:
    return make_check(what, AT, faults, 7, 0.12345)


def test_checks_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "checks.jsonl"
    assert list(read_checks(path)) == []
    written = [check(), check(("actor ada", "x"), ("b", "y")), check(what=DOCTOR)]
    for one in written:
        write_check(path, one)
    assert list(read_checks(path)) == written
    assert [one.ok for one in written] == [True, False, True]
    assert (written[1].faults, written[1].seconds) == (2, 0.123)
    assert "ada" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert newest_checks(read_checks(path)) == {AUDIT: written[1], DOCTOR: written[2]}


@pytest.mark.parametrize(
    "torn", [b'{"id": "x', b"\xff\xfe", b"[]", b"{}", b"1", b'{"id": 1, "at": 2}\n\n']
)
def test_a_line_cut_short_is_passed_over_and_stays_alone(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "checks.jsonl"
    first, second = check(), check(("a", "b"))
    write_check(path, first)
    with path.open("ab") as file:
        file.write(torn)
    write_check(path, second)
    assert list(read_checks(path)) == [first, second]


def test_values_of_another_kind_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "checks.jsonl"
    write_check(path, replace(check(), ok=1))  # type: ignore[arg-type]
    write_check(path, replace(check(), faults="many"))  # type: ignore[arg-type]
    assert list(read_checks(path)) == []


def test_a_failure_is_new_until_it_is_over_or_becomes_another() -> None:
    a, b = ("a", "x"), ("b", "x")
    series = [
        check(), check(a), check(a), check(a, what=DOCTOR), check(a, b), check(b, a), check(),
        check(a),
    ]  # fmt: skip
    assert [series.index(one) for one in new_failures(series)] == [1, 3, 4, 7]


def test_a_file_that_takes_nothing_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be written: File exists"):
        write_check(tmp_path / "file" / "checks.jsonl", check())
    with pytest.raises(UnavailableError, match="cannot be read"):
        list(read_checks(tmp_path))
    assert append_line(tmp_path, b"x").outcome is Outcome.UNREACHABLE
