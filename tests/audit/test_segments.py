"""The log is read in segments, by one process or by several, and what is found does not depend on that."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import astuple
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.audit import readers, segments
from governance.audit.segments import LENGTH, START, Plan, Segment
from governance.audit.verify import verify
from governance.digests import canonical_json
from governance.errors import UnavailableError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import head, rows_between
from governance.workflow.checkpoints import take
from tests.audit.hostile import peek
from tests.audit.reading import read_log
from tests.ledger.tampering import is_sqlite, raw, tamper

SHORT = 48
"""Events in a segment, in tests where all of it is read by this process."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    max_leaves=8,
)

LONG = 2 * LENGTH + 500
"""Events of a log of three segments."""


@pytest.fixture
def short_segments() -> Iterator[None]:
    with patch.object(segments, "LENGTH", SHORT):
        yield


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("length", [SHORT - 1, SHORT, SHORT + 1, 2 * SHORT, 2 * SHORT + 1])
def test_a_log_of_any_length_is_read_to_its_end(
    long_ledger: Callable[[int], Ledger], length: int
) -> None:
    ledger = long_ledger(length)
    log, events = read_log(ledger)
    assert (log.count, log.fault, log.node_faults) == (length, None, [])
    assert [checked.event.seq for checked in events] == list(range(1, length + 1))
    assert log.head == peek(ledger, "events")[-1]["digest"]


def test_an_empty_log_has_one_segment_without_events(make_ledger: Callable[[], Ledger]) -> None:
    log, events = read_log(make_ledger())
    assert (log.count, log.fault, log.first, events) == (0, None, None, [])


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("missing", [1, 2, SHORT, SHORT + 1, SHORT + 2, 2 * SHORT, 2 * SHORT + 1])
def test_an_event_that_is_missing_is_named_wherever_a_segment_ends(
    long_ledger: Callable[[int], Ledger], missing: int
) -> None:
    ledger = long_ledger(2 * SHORT + 2)
    tamper(ledger, f"DELETE FROM events WHERE seq = {missing}")
    log, events = read_log(ledger)
    assert len(events) == log.count == missing - 1
    assert log.fault is not None
    assert (log.fault.where, log.fault.problem) == (
        f"event {missing}", f"event {missing} is missing; the next one is {missing + 1}"
    )  # fmt: skip


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("moved", [0, -5])
def test_an_event_before_the_first_is_found(
    long_ledger: Callable[[int], Ledger], moved: int
) -> None:
    ledger = long_ledger(SHORT + 3)
    tamper(ledger, f"UPDATE events SET seq = {moved} WHERE seq = 9")
    log, events = read_log(ledger)
    assert events == []
    assert log.fault is not None
    assert log.fault.problem == f"event 1 is missing; the next one is {moved}"


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("twice", [SHORT - 1, SHORT, SHORT + 1, 2 * SHORT])
def test_an_event_that_stands_twice_is_found_wherever_a_segment_ends(
    long_ledger: Callable[[int], Ledger], twice: int
) -> None:
    ledger = long_ledger(2 * SHORT)
    tamper(
        ledger,
        "ALTER TABLE events RENAME TO kept",
        "CREATE TABLE events AS SELECT * FROM kept",
        *([] if is_sqlite(ledger) else ["GRANT SELECT ON events TO PUBLIC"]),
        f"INSERT INTO events SELECT * FROM events WHERE seq = {twice}",
    )
    log, events = read_log(ledger)
    assert log.fault is not None
    assert log.fault.where in (f"event {twice}", f"event {twice + 1}")
    assert len(events) == log.count < 2 * SHORT + 1


ATTACKS = {
    "nothing": (),
    "an altered event": (f"UPDATE events SET subject = 'policy:x' WHERE seq = {LENGTH + 700}",),
    "an altered event at an end": (f"UPDATE events SET at = 'then' WHERE seq = {LENGTH}",),
    "a missing event at a beginning": (f"DELETE FROM events WHERE seq = {2 * LENGTH + 1}",),
    "a payload that is not canonical": ("UPDATE events SET payload = '{ }' WHERE seq = 2",),
    "a tree node": (f"UPDATE tree_nodes SET hash = '{'0' * 64}' WHERE level = 8 AND position = 9",),
    "the signature of the second event": (
        "UPDATE events SET signature = (SELECT signature FROM events WHERE seq = 1) WHERE seq = 2",
    ),
    "a public key": ("UPDATE actor_keys SET public_key = 'none'",),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_several_processes_find_what_one_finds(
    long_ledger: Callable[[int], Ledger], attack: str
) -> None:
    ledger = long_ledger(LONG)
    for _ in range(2):  # heads within a block, of which the tree must know the roots
        take(ledger, "ada")
    if ATTACKS[attack]:
        tamper(ledger, *ATTACKS[attack])
    alone = verify(ledger)
    assert alone.ok == (not ATTACKS[attack])
    log_only = verify(ledger, log_only=True)
    with patch.object(readers, "LONG", 0):
        assert verify(ledger, processes=2) == alone
        with patch.object(readers._Team, "_taken_back", lambda self: None):  # others read it all
            assert verify(ledger, processes=3) == alone
            assert verify(ledger, log_only=True, processes=2) == log_only


def test_the_log_alone_is_checked_without_what_it_says(
    long_ledger: Callable[[int], Ledger],
) -> None:
    ledger = long_ledger(600)
    take(ledger, "ada")
    whole = verify(ledger, log_only=True)
    assert (whole.ok, whole.events, dict(whole.checked)) == (True, 601, {"checkpoints": 1})
    tamper(ledger, "UPDATE checkpoints SET root = '" + "0" * 64 + "'")
    (fault,) = verify(ledger, log_only=True).faults
    assert fault.where == "checkpoint 1"


def test_the_log_alone_still_names_keys_that_make_no_sense(
    long_ledger: Callable[[int], Ledger],
) -> None:
    ledger = long_ledger(5)
    tamper(ledger, "UPDATE events SET payload = '{}' WHERE seq = 1")
    faults = [fault.where for fault in verify(ledger, log_only=True).faults]
    assert faults[0] == "event 1"


@pytest.fixture
def long_log(long_ledger: Callable[[int], Ledger]) -> Iterator[Ledger]:
    """A log of which other processes read all segments."""
    with (
        patch.object(readers, "LONG", 0),
        patch.object(readers._Team, "_taken_back", lambda self: None),
    ):
        yield long_ledger(LONG)


def begin(ledger: Ledger, session: Session) -> Generator[Segment, None, None]:
    rows = partial(rows_between, session)
    return readers.segments(rows, ledger.access(), Plan(head(session)[0]), 3)


def test_the_processes_end_where_reading_is_given_up(long_log: Ledger) -> None:
    with (
        long_log.read() as session,
        patch.object(readers, "_Reader", side_effect=readers._Reader) as made,
        closing(begin(long_log, session)) as found,
    ):
        first = next(found)
        assert (first.before, first.end.seq) == (START, LENGTH)
        one, other = found.gi_frame.f_locals["team"]._readers
        assert (one._process.poll(), other._process.poll()) == (None, None)
    assert made.call_count == 2
    assert None not in (one._process.returncode, other._process.returncode)


def test_a_process_that_was_killed_is_one_line(long_log: Ledger) -> None:
    begun = readers._Reader.begin

    def killed(self: readers._Reader) -> None:
        begun(self)
        self.kill()

    with (
        patch.object(readers._Reader, "begin", killed),
        pytest.raises(UnavailableError, match=r"ended with -9; let this one .* --processes 1$"),
    ):
        verify(long_log, processes=2)


@pytest.mark.parametrize(("program", "said"), [("/bin/false", "ended with 1"), ("/", "begun")])
def test_a_process_that_cannot_begin_is_one_line(long_log: Ledger, program: str, said: str) -> None:
    with (
        patch.object(readers.sys, "executable", program),
        pytest.raises(UnavailableError, match=rf"process.* {said}.*; let this one"),
    ):
        verify(long_log, processes=2)


def test_a_process_passes_on_why_the_ledger_cannot_be_read(
    long_log: Ledger, make_ledger: Callable[[], Ledger]
) -> None:
    other = make_ledger()
    raw(other, "ALTER TABLE events RENAME TO gone")
    with (
        long_log.read() as session,
        pytest.raises(UnavailableError, match=r"^the ledger .* cannot be used: .*events") as caught,
        closing(begin(other, session)) as found,
    ):
        list(found)
    assert str(caught.value).isprintable()


def test_a_process_that_reads_begins_without_what_takes_long_to_import() -> None:
    program = "import sys, governance.audit.readers; print('sqlalchemy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


def test_the_url_of_the_database_stands_in_no_process_list(long_log: Ledger) -> None:
    with (
        long_log.read() as session,
        patch.object(subprocess, "Popen", side_effect=subprocess.Popen) as popen,
        closing(begin(long_log, session)) as found,
    ):
        next(found)
    assert popen.call_count == 2
    for call in popen.call_args_list:
        assert long_log.url not in str(call)


def test_a_short_log_is_read_without_another_process(long_ledger: Callable[[int], Ledger]) -> None:
    ledger = long_ledger(20)
    with patch.object(subprocess, "Popen") as popen:
        assert verify(ledger, processes=8).ok
    popen.assert_not_called()


def test_the_garbage_collector_is_left_as_it_was() -> None:
    before = gc.get_threshold()
    with readers.seldom_collected():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before


def test_there_is_a_processor() -> None:
    assert 1 <= readers.processors() <= (os.cpu_count() or 1)


def test_a_reader_ends_when_nobody_listens(
    long_ledger: Callable[[int], Ledger],
) -> None:
    """Not with a traceback into somebody's terminal."""
    ledger = long_ledger(20)
    process = subprocess.Popen(
        [sys.executable, "-m", "governance.audit.readers"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    readers._write(process.stdin, (tuple(ledger.access()), astuple(Plan(20))))
    process.stdin.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    "text",
    ["{}", "-12", "999999999999999", "9007199254740992", "100000000000000000000", "1.5", "1e+21", "1e-7",
     '{"a":[1,null,true],"ä":"\\n"}', '"\\u0001\x7f"', '{"😀":1,"\ue000":2}'],
)  # fmt: skip
def test_a_payload_in_its_one_form_is_read(text: str) -> None:
    assert segments.read_payload(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{ }", '{"b":1,"a":2}', '{"a":1,"a":1}', '"\\u0061"', '"\\ud800"', '{"\ue000":2,"😀":1}',
     "1.0", "1e5", "1e+16", "-0", "-0.0", "9007199254740993", "NaN", '{"a":Infinity}', "[" * 100_000],
)  # fmt: skip
def test_a_payload_in_another_form_is_not_read(text: str) -> None:
    assert segments.read_payload(text) is segments.UNREAD


@given(json_values)
def test_a_payload_that_was_written_is_read(value: Any) -> None:
    try:
        text = canonical_json(value)
    except ValueError:
        return
    assert segments.read_payload(text) == value
