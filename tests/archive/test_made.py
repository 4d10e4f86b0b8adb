"""A file that is made once is not taken for one made of something else."""

import numpy as np
import pytest

from mlipbook.archive import made


def test_a_file_is_made_once(tmp_path):
    path = tmp_path / "deep" / "a.npz"
    assert not made(path, seed=0, frames=[1.0])  # and it was not made: a kill, say
    assert not made(path, seed=1, frames=[1.0])
    path.write_text("made")
    assert made(path, seed=1, frames=[1.0])


@pytest.mark.parametrize("other", [{"frames": [np.nextafter(1.0, 2)]}, {"seed": 1}, {"epochs": 3}])
def test_one_of_something_else_is_refused_with_both_named(tmp_path, other):
    path, of = tmp_path / "a.npz", {"frames": [1.0], "seed": 0}
    made(path, **of)
    path.write_text("made")
    with pytest.raises(
        ValueError, match=r"a\.npz: (of something else, whose|written by an older).*move it away"
    ):
        made(path, **{**of, **other})
    assert path.read_text() == "made" and made(path, **of)


def test_one_of_an_older_version_is_taken_and_it_is_said(tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("made")
    with pytest.warns(
        UserWarning, match=r"a\.npz: nothing tells what it was made of; taken as made of seed 3 \["
    ):
        assert made(path, seed=3)
