"""Campaigns resume, cache, and survive failed jobs and killed workers."""

import os
import signal
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from mlipbook import archive, campaign

# Workers forked from a process with threads may hang; those of a fork server, which has none, start at once.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["mlipbook.campaign"])
Processes = partial(ProcessPoolExecutor, 2, mp_context=CONTEXT)


def square(job: dict) -> dict:
    """x**2, leaving a line in job["log"] for each time that it ran."""
    with open(job["log"], "a") as log:
        log.write(f"{job['x']}\n")
    if job["x"] == job.get("bad"):
        raise RuntimeError(f"x = {job['x']} is bad")
    return {"square": job["x"] ** 2, "array": np.full(2, job["x"] / 3)}


def power(exponent: int, job: int) -> int:
    return job**exponent


def kills_its_process(job: dict) -> int:
    """Job 3 kills the process that it runs in, the first job["times"] times."""
    marks = list(Path(job["folder"]).glob("killed*"))
    if job["x"] == 3 and len(marks) < job["times"]:
        Path(job["folder"], f"killed{len(marks)}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job["x"]


def slow(job: dict) -> dict:
    time.sleep(0.1)
    Path(job["folder"], f"{job['x']}-{os.getpid()}").touch()
    return {"x": job["x"], "pid": os.getpid()}


def interrupted(job: dict) -> int:
    """The user interrupts the run at job 2, once."""
    mark = Path(job["folder"], "interrupted")
    if job["x"] == 2 and not mark.exists():
        mark.touch()
        raise KeyboardInterrupt
    Path(job["folder"], f"ran-{job['x']}-{len(list(Path(job['folder']).glob('interrupted')))}").touch()
    return job["x"]


def jobs(log: Path, n: int = 6, **extra) -> list[dict]:
    return [{"x": x, "log": str(log), **extra} for x in range(n)]


@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 2), Processes])
def test_order_cache_and_resume(tmp_path, executor):
    log, store = tmp_path / "log", tmp_path / "store"
    first = campaign.run(square, jobs(log, 3), executor, store)
    assert [result["square"] for result in first] == [0, 1, 4]
    both = campaign.run(square, jobs(log, 6) + jobs(log, 1), executor, store)
    assert [result["square"] for result in both] == [0, 1, 4, 9, 16, 25, 0]
    assert sorted(log.read_text().split()) == list("012345")  # each of them once
    again = campaign.run(square, jobs(log, 6), None, store)
    assert all(np.array_equal(a["array"], b["array"]) for a, b in zip(again, both, strict=False))
    assert len(log.read_text().split()) == 6


def test_without_store_nothing_is_converted():
    assert campaign.run(partial(power, 2), [1, 2, 3]) == [1, 4, 9]
    marker = object()
    assert campaign.run(lambda job: (job, marker), [1]) == [(1, marker)]


def test_bound_arguments_belong_to_the_key(tmp_path):
    assert campaign.run(partial(power, 2), [3], store=tmp_path) == [9]
    assert campaign.run(partial(power, 3), [3], store=tmp_path) == [27]
    assert len(list(tmp_path.glob("power-*.json"))) == 2


class Scaled:
    """A callable object."""

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, job: float) -> float:
        return self.factor * job


def scaled_by(factor: float):
    def local(job: float) -> float:
        return factor * job

    return local


def scaled(factor: float, job: float) -> float:
    return factor * job


def scaled_by_default(factor: float):
    def local(job: float, factor: float = factor) -> float:
        return factor * job

    return local


def scaled_by_method(factor: float):
    return Scaled(factor).__call__


@dataclass(frozen=True, slots=True)
class Slotted:
    factor: float

    def __call__(self, job: float) -> float:
        return self.factor * job


@pytest.mark.parametrize(
    "make", [Scaled, Slotted, scaled_by, scaled_by_default, scaled_by_method, partial(partial, scaled)]
)
def test_what_a_function_takes_along_belongs_to_the_key(tmp_path, make):
    factors = (1.0, np.nextafter(1.0, 2.0), 1.0)
    assert [campaign.run(make(x), [3e20], store=tmp_path)[0] for x in factors] == [3e20 * x for x in factors]
    assert len(list(tmp_path.iterdir())) == 2


def test_every_bit_of_a_job_counts(tmp_path):
    jobs = [
        {"x": 0.1},
        {"x": 0.1 + 2**-56},
        {"x": [1, 2]},
        {"x": [1, [2]]},
        {"x": True},
        {"x": 1},
        {"x": "1"},
    ]
    jobs += [{"x": np.zeros(2000)}, {"x": np.where(np.arange(2000) == 1000, 5e-324, 0)}]
    results = campaign.run(described, jobs, store=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(jobs)
    assert campaign.run(described, jobs, store=tmp_path) == results


def described(job: dict) -> str:
    return repr(job["x"])


def test_results_survive_a_move_of_the_module_and_it_is_said(tmp_path, monkeypatch):
    log, store = tmp_path / "log", tmp_path / "store"
    campaign.run(square, jobs(log, 3), store=store)
    monkeypatch.setattr(square, "__module__", "another.place")
    with pytest.warns(UserWarning, match="of module test_campaign are taken for those of another.place"):
        campaign.run(square, jobs(log, 4), store=store)
    assert log.read_text().split() == ["0", "1", "2", "3"]


def test_a_given_name_stands_for_the_function(tmp_path):
    assert campaign.run(lambda job: 2 * job, [1], store=tmp_path, name="twice") == [2]
    assert campaign.run(lambda job: job + job, [1, 3], store=tmp_path, name="twice") == [2, 6]
    assert len(list(tmp_path.glob("twice-*.json"))) == 2


def test_results_of_an_older_version_are_not_used_and_it_is_said(tmp_path):
    (tmp_path / f"power-{'0' * 20}.json").write_text("{}")
    with pytest.warns(UserWarning, match="1 results of an older version"):
        assert campaign.run(partial(power, 2), [3], store=tmp_path) == [9]


@pytest.mark.parametrize("executor", [None, Processes])
def test_failed_jobs_do_not_stop_the_others(tmp_path, executor):
    log = tmp_path / "log"
    with pytest.raises(campaign.CampaignError) as caught:
        campaign.run(square, jobs(log, bad=2), executor, tmp_path / "store")
    results = caught.value.results
    assert [r["square"] for r in results if not isinstance(r, campaign.Failure)] == [0, 1, 9, 16, 25]
    assert results[2].job["x"] == 2 and results[2].error == "RuntimeError: x = 2 is bad"
    assert "in square\n" in results[2].traceback
    assert "1 of 6 jobs failed" in str(caught.value) and "RuntimeError: x = 2 is bad" in str(caught.value)
    with pytest.raises(campaign.CampaignError):
        campaign.run(square, jobs(log, bad=2), executor, tmp_path / "store")
    assert sorted(log.read_text().split()) == list("0122345")  # only the failed one was tried again


def test_interrupted_run_continues(tmp_path):
    work = [{"x": x, "folder": str(tmp_path)} for x in range(4)]
    with pytest.raises(KeyboardInterrupt):
        campaign.run(interrupted, work, store=tmp_path / "store")
    assert campaign.run(interrupted, work, store=tmp_path / "store") == [0, 1, 2, 3]
    ran = sorted(path.name for path in tmp_path.glob("ran-*"))
    assert ran == ["ran-0-0", "ran-1-0", "ran-2-1", "ran-3-1"]


def test_dead_process_costs_no_job(tmp_path):
    work = [{"x": x, "folder": str(tmp_path), "times": 1} for x in range(8)]
    assert campaign.run(kills_its_process, work, Processes, tmp_path / "store") == list(range(8))
    assert len(list(tmp_path.glob("killed*"))) == 1


def test_job_that_always_kills_is_named_and_the_others_finish(tmp_path):
    work = [{"x": x, "folder": str(tmp_path), "times": 9} for x in range(8)]
    with pytest.raises(campaign.CampaignError, match="1 of 8 jobs failed") as caught:
        campaign.run(kills_its_process, work, Processes, tmp_path / "store")
    assert [x for x in caught.value.results if isinstance(x, int)] == [0, 1, 2, 4, 5, 6, 7]
    assert caught.value.results[3].error.startswith("BrokenProcessPool")


class Fragile(Executor):
    """Job 1 breaks it, and takes along whoever is at work."""

    def __init__(self) -> None:
        self.running, self.broken = [], False

    def submit(self, function, job):
        if self.broken:
            raise BrokenExecutor("dead")
        future = Future()
        self.running.append(future)
        if job == 1:
            self.broken = True
            for each in self.running:
                each.set_exception(BrokenExecutor("dead"))
        else:
            Timer(0.05, lambda: self.broken or future.set_result(function(job))).start()
        return future


def test_a_slow_job_is_not_blamed_for_another_that_kills_the_pool_again_and_again():
    with pytest.raises(campaign.CampaignError, match="1 of 3 jobs failed") as caught:
        campaign.run(partial(power, 2), [0, 1, 2], Fragile)
    assert caught.value.results[::2] == [0, 4]


def test_broken_pool_of_the_caller_is_reported_and_can_be_continued(tmp_path):
    work = [{"x": x, "folder": str(tmp_path), "times": 1} for x in range(8)]
    with pytest.raises(campaign.CampaignError, match="BrokenProcessPool"), Processes() as pool:
        campaign.run(kills_its_process, work, pool, tmp_path / "store")
    assert campaign.run(kills_its_process, work, None, tmp_path / "store") == list(range(8))


def test_half_a_result_file_is_done_again(tmp_path):
    log = tmp_path / "log"
    campaign.run(square, jobs(log, 1), store=tmp_path / "store")
    (path,) = (tmp_path / "store").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    assert campaign.run(square, jobs(log, 1), store=tmp_path / "store")[0]["square"] == 0
    assert log.read_text().split() == ["0", "0"]


@pytest.mark.parametrize("content", ["[]", "null", "1", "", "{}", '{"result": {"__ndarray__": 1}}', "\x00"])
def test_a_result_file_of_anything_else_is_done_again(tmp_path, content):
    log = tmp_path / "log"
    campaign.run(square, jobs(log, 1), store=tmp_path / "store")
    (path,) = (tmp_path / "store").iterdir()
    path.write_text(content)
    assert campaign.run(square, jobs(log, 1), store=tmp_path / "store")[0]["square"] == 0
    assert log.read_text().split() == ["0", "0"]


def test_a_changed_number_in_a_result_file_is_seen(tmp_path):
    log = tmp_path / "log"
    before = campaign.run(square, jobs(log, 3), store=tmp_path / "store")
    for path in (tmp_path / "store").iterdir():
        path.write_text(path.read_text().replace('"square": ', '"square": 1'))
    assert [r["square"] for r in campaign.run(square, jobs(log, 3), store=tmp_path / "store")] == [0, 1, 4]
    assert before[2]["square"] == 4 and len(log.read_text().split()) == 6


def campaigner(store: Path) -> None:
    campaign.run(waits, [{"folder": str(store), "x": x} for x in range(2)], Processes, store)


def waits(job: dict) -> None:
    Path(job["folder"], f"worker-{os.getpid()}").touch()
    time.sleep(600)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_killed_campaign_frees_its_store_and_takes_its_workers_along(tmp_path):
    child = CONTEXT.Process(target=campaigner, args=(tmp_path,))
    child.start()
    while len(list(tmp_path.glob("worker-*"))) < 2:
        assert child.is_alive()
        time.sleep(0.01)
    with pytest.raises(archive.InUse, match=f"in use by process {child.pid} on "):
        campaign.run(power, [1], store=tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert campaign.run(partial(power, 2), [3], store=tmp_path) == [9]
    workers = [int(path.name.split("-")[1]) for path in tmp_path.glob("worker-*")]
    until = time.monotonic() + 30
    while any(map(alive, workers)):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_cannot_be_stored(tmp_path):
    with pytest.raises(ValueError, match="lambda has no name"):
        campaign.run(lambda job: job, [1], store=tmp_path)
    with pytest.raises(ValueError, match="job <object object .* cannot be stored as JSON"):
        campaign.run(power, [object()], store=tmp_path)
    with pytest.raises(campaign.CampaignError, match="result <function .* cannot be stored as JSON"):
        campaign.run(returns_a_function, [1], store=tmp_path)


def returns_a_function(job: int):
    return power


@pytest.mark.slow
def test_dask_cluster_with_a_worker_killed_half_way(tmp_path):
    distributed = pytest.importorskip("distributed")
    work = [{"x": x, "folder": str(tmp_path)} for x in range(30)]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        with ThreadPoolExecutor(1) as background:
            campaigning = background.submit(
                campaign.run, slow, work, client.get_executor(), tmp_path / "store"
            )
            while not campaigning.done() and not list(tmp_path.glob(f"*-{victim}")):
                time.sleep(0.01)
            os.kill(victim, signal.SIGKILL)
            results = campaigning.result(timeout=300)
        assert [result["x"] for result in results] == list(range(30))
        assert victim not in client.run(os.getpid).values()
        runs = len(list(tmp_path.glob("*-*")))
        assert campaign.run(slow, work, client.get_executor(), tmp_path / "store") == results
        assert len(list(tmp_path.glob("*-*"))) == runs
