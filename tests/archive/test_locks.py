"""A store belongs to one process at a time, and to nobody after a kill; tried with real processes."""

import os
import signal
import subprocess
import sys

import pytest

from mlipbook import archive

HOLD = """
import os, sys, time
from mlipbook import archive
with archive.locked(sys.argv[1]):
    if len(sys.argv) > 2 and os.fork() == 0:  # a worker that outlives its parent
        print(os.getpid(), flush=True)
    time.sleep(600)
"""


def holder(path, *options):
    """A process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, path, *options], stdout=subprocess.PIPE)
    while not (path.exists() and path.read_text().endswith("\n")):
        assert process.poll() is None
    return process


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / "lock"


@pytest.mark.slow
def test_a_lock_that_is_held_is_refused_with_its_holder_and_free_after_kill_9(path):
    process = holder(path)
    told = f"store: in use by process {process.pid} on .* for 0 minutes"
    with pytest.raises(archive.InUse, match=told), archive.locked(path):
        pass
    process.kill()
    process.communicate()
    assert path.exists()  # the file that was left
    with archive.locked(path):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert not path.exists()


@pytest.mark.slow
def test_a_worker_that_outlives_its_killed_parent_does_not_hold_the_lock(path):
    process = holder(path, "with a worker")
    worker = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        os.kill(worker, 0)  # it lives
        with archive.locked(path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        process.stdout.close()


def test_a_lock_is_held_against_the_own_process_and_freed_by_an_error(path):
    with pytest.raises(KeyError), archive.locked(path):
        with pytest.raises(archive.InUse, match=f"process {os.getpid()} "), archive.locked(path):
            pass
        raise KeyError
    with archive.locked(path), archive.locked(None):
        pass


@pytest.mark.slow
def test_of_many_processes_at_once_only_one_is_inside(path):
    code = """
import sys, time
from mlipbook import archive
path, log = sys.argv[1:]
for _ in range(200):
    try:
        with archive.locked(path), open(log, "x"):
            time.sleep(1e-4)
            __import__("os").unlink(log)
    except archive.InUse:
        pass
"""
    command = [sys.executable, "-c", code, path, path.parent / "inside"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[1] for process in processes] == ["", ""]


def test_a_lock_that_cannot_be_made_names_its_path(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file/lock cannot be written"), archive.locked(tmp_path / "file/lock"):
        pass
