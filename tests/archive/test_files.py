"""Files appear whole, leave nothing behind, and name themselves in errors."""

import os
import resource
import subprocess
import sys
import time

import pytest

from mlipbook import archive
from mlipbook.archive import files


def test_nothing_is_replaced_by_half_a_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"whole")
    with pytest.raises(RuntimeError), archive.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError("killed")
    assert path.read_bytes() == b"whole" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_contents_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, f=original, n=name: (done.append(n), f(*a)))
    with archive.replacing(tmp_path / "a") as file:
        file.write(b"x")
    assert done == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_a_full_disk_is_reported_with_the_path_and_loses_nothing(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        refused = pytest.raises(OSError, match=f"{path} cannot be written.*make room")
        with refused, archive.replacing(path) as file:
            file.write(bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"whole" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_made_is_reported_with_the_path(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused = pytest.raises(OSError, match="file/a cannot be written.*move the file")
    with refused, archive.replacing(tmp_path / "file" / "a"):
        pass


@pytest.mark.slow
def test_leftovers_of_dead_processes_are_swept_and_nothing_else(tmp_path):
    kill = (
        "import os, signal, sys; from mlipbook import archive\n"
        "with archive.replacing(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", kill, tmp_path / "a"], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".tmp")
    mine, now, week = os.getpid(), time.time(), 8 * 86400
    spared = [f"b.{files.HOST}-{mine}-01234567.tmp", "c.deadbeef-1-01234567.tmp", "notes.tmp", "a.b.tmp"]
    old = ["d.deadbeef-1-01234567.tmp", f"e.{'0123456789abcdef' * 2}.tmp"]
    for name in spared + old:
        (tmp_path / name).touch()
    for name in ["notes.tmp", "a.b.tmp", *old]:
        os.utime(tmp_path / name, (now - week, now - week))
    with archive.replacing(tmp_path / "a"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a", *spared])
