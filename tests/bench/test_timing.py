import sys

import pytest
import torch

from bench.timing import one_thread, peak_memory, seconds


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_peak_memory_sees_what_was_freed_again() -> None:
    def work() -> None:
        torch.ones(8 * 2**20, dtype=torch.float64)

    peak = peak_memory(work)
    assert peak is not None
    assert 60 * 2**20 < peak < 80 * 2**20
    small = peak_memory(lambda: None)
    assert small is not None
    assert small < 8 * 2**20


def test_the_least_of_several_runs_is_taken_and_threads_come_back() -> None:
    runs: list[int] = []
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
        assert seconds(lambda: runs.append(torch.get_num_threads()), 3) >= 0
    assert runs == [1, 1, 1]
    assert torch.get_num_threads() == before
