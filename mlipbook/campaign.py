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

from __future__ import annotations

import hashlib
import json
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

from ase.io import jsonio
from tqdm import tqdm

from mlipbook.archive import Damaged, locked, read_json, reading, write_json

Makes = Callable[[], Executor]


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
) -> list[Any]:
    """function(job) for every job, in the order of the jobs.

    executor: where to compute; None means here. A function that makes an executor, such as
    partial(ProcessPoolExecutor, 8), is better than a ProcessPoolExecutor: a dead process breaks a pool for
    good, and only a new pool can take the lost jobs. A job that kills its process twice counts as failed.
    store: folder with one JSON file per finished job, named by a hash of the function's name (with what
    functools.partial binds) and the job; jobs found there are not run again. Jobs and results are then of
    the types that ASE's JSON knows: numbers, strings, lists, dicts, numpy arrays, ase.Atoms (tuples come back
    as lists). A function that was changed under the same name needs a new store.

    Raises CampaignError at the end if jobs failed, when all others are done and stored; ValueError if a job
    or the function cannot be named; InUse if another process uses the store.
    """
    with locked(None if store is None else Path(store) / "lock"):
        return _run(function, list(jobs), executor, None if store is None else Path(store))


def _run(
    function: Callable[[Any], Any], jobs: list[Any], executor: Executor | Makes | None, folder: Path | None
) -> list[Any]:
    name = _name(function)
    keys = [_key(name, job) if folder else str(i) for i, job in enumerate(jobs)]
    results = {key: found for key in keys if folder for found in _stored(folder, key)}
    todo = {key: job for key, job in zip(keys, jobs, strict=True) if key not in results}  # equal jobs once
    outcomes = _here(function, todo) if executor is None else _elsewhere(function, todo, executor)
    with tqdm(total=len(set(keys)), initial=len(results), desc=name.split("(")[0].split(".")[-1]) as bar:
        for key, outcome in outcomes:
            if folder and not isinstance(outcome, Failure):
                outcome = _keep(folder, key, name, todo[key], outcome)
            results[key] = outcome
            bar.update()
    ordered = [results[key] for key in keys]
    if any(isinstance(result, Failure) for result in ordered):
        raise CampaignError(name, ordered)
    return ordered


def processes(number: int) -> Makes | None:
    """So many processes of this machine, as `run` wants them; for one, this process."""
    return partial(ProcessPoolExecutor, number) if number > 1 else None


def _here(function: Callable[[Any], Any], todo: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, job in todo.items():
        try:
            yield key, function(job)
        except Exception as error:
            yield key, _failure(job, error)


def _elsewhere(
    function: Callable[[Any], Any], todo: dict[str, Any], executor: Executor | Makes
) -> Iterator[tuple[str, Any]]:
    """(key, result or Failure) as jobs finish; jobs lost with a broken pool go to a new one."""
    given = executor if isinstance(executor, Executor) else None
    blamed: set[str] = set()
    while todo:
        lost: dict[str, BaseException] = {}
        with nullcontext(given) if given else executor() as pool:  # type: ignore[operator]
            for key, future in _completed(function, todo, pool):
                error = CancelledError("cancelled") if future.cancelled() else future.exception()
                if isinstance(error, BrokenExecutor):
                    lost[key] = error
                else:
                    yield key, future.result() if error is None else _failure(todo[key], error)
        # Jobs start in order, so the first of the lost was running: it goes last, behind the innocent.
        waiting = [key for key in todo if key in lost]
        suspect = waiting[:1]
        hopeless = waiting if given else [key for key in suspect if key in blamed]
        for key in hopeless:
            yield key, _failure(todo[key], lost[key])
        blamed.update(suspect)
        todo = {key: todo[key] for key in waiting[1:] + suspect if key not in hopeless}


def _completed(
    function: Callable[[Any], Any], todo: dict[str, Any], pool: Executor
) -> Iterator[tuple[str, Future[Any]]]:
    """Futures as they finish; those still waiting are cancelled if the caller stops listening."""
    futures: dict[Future[Any], str] = {}
    if isinstance(pool, ProcessPoolExecutor):
        function = _Mortal(function)
    try:
        for key, job in todo.items():
            futures[_submit(pool, function, job)] = key
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        for future in futures:
            future.cancel()


def _submit(pool: Executor, function: Callable[[Any], Any], job: Any) -> Future[Any]:
    try:
        return pool.submit(function, job)
    except BrokenExecutor as error:  # broke while jobs were still being handed in
        future: Future[Any] = Future()
        future.set_exception(error)
        return future


@dataclass(frozen=True)
class _Mortal:
    """A function for worker processes, which end when the one that they work for does, in whatever way."""

    function: Callable[[Any], Any]

    def __call__(self, job: Any) -> Any:
        if not any(thread.name == "parent" for thread in threading.enumerate()):
            threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
        return self.function(job)


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _failure(job: Any, error: BaseException) -> Failure:
    line = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return Failure(job, line, "".join(traceback.format_exception(error)))


def _name(function: Any) -> str:
    """module.function, or of a callable object module.Class; bound arguments of a partial in brackets."""
    if isinstance(function, partial):
        return f"{_name(function.func)}({_encode('a bound argument', [function.args, function.keywords])})"
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _key(name: str, job: Any) -> str:
    if "<lambda>" in name:
        raise ValueError("a lambda has no name under which results could be stored: define a function")
    text = _encode(f"job {job!r:.200}", {"function": name, "job": job})
    return f"{name.split('(')[0].split('.')[-1]}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _encode(what: str, value: Any) -> str:
    try:
        return json.dumps(value, default=jsonio.default, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"{what} cannot be stored as JSON: {error}") from error


def _stored(folder: Path, key: str) -> list[Any]:
    """[result], or [] if the job is not done or its file is damaged: then it is done again."""
    path = folder / f"{key}.json"
    try:
        content = read_json(path)
        with reading(path):
            return [jsonio.decode(json.dumps(content["result"]), always_array=False)]
    except (FileNotFoundError, Damaged):
        return []


def _keep(folder: Path, key: str, name: str, job: Any, result: Any) -> Any:
    """Store a result and return it as a later call will read it."""
    try:
        text = _encode(f"result {result!r:.200}", {"function": name, "job": job, "result": result})
    except ValueError as error:
        return _failure(job, error)
    write_json(folder / f"{key}.json", json.loads(text))
    return jsonio.decode(text, always_array=False)["result"]
