"""Jobs shared over threads: each runs once, and errors of any of them are raised."""

import threading

import pytest

from hfcontrol.arrays.threads import limited_threads, run_in_parallel, thread_count


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch):
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 3)
    with limited_threads(request.param):
        yield request.param


@pytest.mark.parametrize(
    "jobs, least", [(0, 1), (1, 1), (7, 1), (7, 3), (7, 8), (64, 8)]
)
def test_every_job_runs_once(threads, jobs, least):
    done = [0] * jobs
    parts = []

    def run(first, end, weight):
        parts.append(end - first)
        for job in range(first, end):
            done[job] += weight

    run_in_parallel(jobs, run, 2, least=least)
    assert done == [2] * jobs
    assert len(parts) == max(1, min(threads, jobs // least))
    assert max(parts) - min(parts) <= 1


def test_a_limit_holds_in_its_context_and_thread():
    most = thread_count()
    with limited_threads(1):
        assert thread_count() == 1
        with limited_threads(most + 1):
            assert thread_count() == most
        assert thread_count() == 1
        seen = []
        other = threading.Thread(target=lambda: seen.append(thread_count()))
        other.start()
        other.join()
    assert seen == [most] and thread_count() == most


@pytest.mark.parametrize("bad", [0, 5])
def test_errors_are_raised_after_all_jobs_have_ended(threads, bad):
    """The caller's thread runs the first part; another one runs the last, if any."""
    ended = []

    def run(first, end):
        try:
            if first <= bad < end:
                raise ValueError(f"job {bad}")
        finally:
            ended.append(threading.current_thread())

    with pytest.raises(ValueError, match=f"job {bad}"):
        run_in_parallel(6, run)
    assert len(ended) == threads
    assert threads == 1 or len(set(ended)) > 1
