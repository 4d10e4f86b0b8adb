"""A resumable, cached map over any concurrent.futures.Executor: one core, one machine, or a cluster.

    run(function, jobs)                                            in this process, one after the other
    run(function, jobs, partial(ProcessPoolExecutor, 8), "store")  eight processes; finished jobs are kept
    run(function, jobs, client.get_executor(), "store")            the workers of a dask.distributed Client

On a Slurm cluster the workers are batch jobs of dask-jobqueue; the script itself runs anywhere that sees
the cluster, and may be killed and started again:

    from dask.distributed import Client
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(cores=1, memory="4GB", walltime="04:00:00", queue="normal")
    cluster.adapt(maximum=100)
    with Client(cluster) as client:
        results = run(function, jobs, client.get_executor(), "store")

dask starts the tasks of a dead worker again on another one, by default up to three times.
"""

import os
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mlipbook.archive import locked
from mlipbook.archive.jobs import Results, name_of

Makes = Callable[[], Executor]
Function = Callable[[Any], Any]  # of a job
Outcomes = Iterator[tuple[str, Any]]  # keys of jobs, and what became of each


@dataclass(frozen=True)
class Failure:
    """Stands where the result of a failed job would: the job, the error in a line, and its traceback."""

    job: Any
    error: str
    traceback: str


class CampaignError(RuntimeError):
    """Some jobs failed, the others are done; `results` is in the order of the jobs, failed ones a Failure."""

    def __init__(self, name: str, results: list[Any]) -> None:
        self.results = results
        failed = [(i, result) for i, result in enumerate(results) if isinstance(result, Failure)]
        lines = [f"{name}: {len(failed)} of {len(results)} jobs failed; calling again tries only these"]
        lines += [f"  job {i}, {str(failure.job):.200}: {failure.error}" for i, failure in failed]
        lines += ["The first one's traceback:", failed[0][1].traceback]
        super().__init__("\n".join(lines))


def run(
    function: Callable[[Any], Any],
    jobs: Iterable[Any],
    executor: Executor | Makes | None = None,
    store: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> list[Any]:
    """function(job) for every job, in the order of the jobs.

    executor: where to compute; None means here. A function that makes an executor, such as
    partial(ProcessPoolExecutor, 8), is better than a ProcessPoolExecutor: a dead process breaks a pool for
    good, and only a new pool can take the lost jobs. A job that kills its process twice counts as failed.
    store: folder with one JSON file per finished job, known by the function and the job (`archive.identity`);
    jobs found there are not run again. The function is known by its name, without the module that it lies in,
    and by what it closes over, its defaults, what functools.partial or a method binds, or a callable object
    holds; or by `name` alone. One that was changed under the same name needs a new store. Jobs and results
    are then of the types that ASE's JSON knows: numbers, strings, lists, dicts, numpy arrays, ase.Atoms
    (tuples come back as lists).

    Raises CampaignError at the end if jobs failed, when all others are done and stored; ValueError if a job
    or the function cannot be named; InUse if another process uses the store.
    """
    folder, jobs = None if store is None else Path(store), list(jobs)
    kept = Results(folder, function, name) if folder else None
    name = name or name_of(function)
    with locked(folder / "lock" if folder else None):
        keys = [kept.key(job) if kept else str(i) for i, job in enumerate(jobs)]
        results = kept.found(keys) if kept else {}
        todo = {
            key: job for key, job in zip(keys, jobs, strict=True) if key not in results
        }  # equal jobs once
        outcomes = _here(function, todo) if executor is None else _elsewhere(function, todo, executor)
        with tqdm(total=len(set(keys)), initial=len(results), desc=name.split(".")[-1]) as bar:
            for key, outcome in outcomes:
                if kept and not isinstance(outcome, Failure):
                    try:
                        outcome = kept.keep(key, todo[key], outcome)
                    except ValueError as error:
                        outcome = _failure(todo[key], error)
                results[key] = outcome
                bar.update()
    ordered = [results[key] for key in keys]
    if any(isinstance(result, Failure) for result in ordered):
        raise CampaignError(name, ordered)
    return ordered


def processes(number: int) -> Makes | None:
    """So many processes of this machine, as `run` wants them; for one, this process."""
    return partial(ProcessPoolExecutor, number) if number > 1 else None


def _here(function: Function, todo: dict[str, Any]) -> Outcomes:
    for key, job in todo.items():
        try:
            yield key, function(job)
        except Exception as error:
            yield key, _failure(job, error)


def _elsewhere(function: Function, todo: dict[str, Any], executor: Executor | Makes) -> Outcomes:
    """(key, result or Failure) as jobs finish; jobs lost with a broken pool go to a new one."""
    given = executor if isinstance(executor, Executor) else None
    waiting, suspects = dict(todo), list[str]()
    while waiting or suspects:
        alone = not waiting  # a suspect that breaks a pool of its own is the one to blame
        batch = waiting or {(key := suspects.pop(0)): todo[key]}
        lost: dict[str, BaseException] = {}
        with nullcontext(given) if given else executor() as pool:  # type: ignore[operator]
            for key, future in _completed(function, batch, pool):
                error = CancelledError("cancelled") if future.cancelled() else future.exception()
                if isinstance(error, BrokenExecutor):
                    lost[key] = error
                else:
                    yield key, future.result() if error is None else _failure(todo[key], error)
        if given or alone:
            yield from ((key, _failure(todo[key], error)) for key, error in lost.items())
            lost = {}
        # Jobs start in order, so the first of the lost was running: it comes last, behind the innocent.
        again = [key for key in batch if key in lost]
        suspects += again[:1]
        waiting = {key: todo[key] for key in again[1:]}


def _completed(function: Function, todo: dict[str, Any], pool: Executor) -> Outcomes:
    """Futures as they finish; those still waiting are cancelled if the caller stops listening."""
    futures: dict[Future[Any], str] = {}
    if isinstance(pool, ProcessPoolExecutor):
        function = partial(_mortal, function)
    try:
        for key, job in todo.items():
            try:
                future = pool.submit(function, job)
            except BrokenExecutor as error:  # broke while jobs were still being handed in
                future = Future()
                future.set_exception(error)
            futures[future] = key
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        for future in futures:
            future.cancel()


def _mortal(function: Function, job: Any) -> Any:
    """function(job) in a worker process, which ends when the one that it works for does, in whatever way."""
    if not any(thread.name == "parent" for thread in threading.enumerate()):
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    return function(job)


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _failure(job: Any, error: BaseException) -> Failure:
    line = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return Failure(job, line, "".join(traceback.format_exception(error)))
