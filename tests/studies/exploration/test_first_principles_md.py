"""First-principles dynamics goes on where it stopped, and a potential compared with itself is right."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import mlipbook as mb
from mlipbook.studies.exploration import first_principles as study
from mlipbook.studies.exploration.search import maxwell_boltzmann


def test_a_trajectory_goes_on_where_it_stopped(tmp_path):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.set_velocities(maxwell_boltzmann(atoms, 300, np.random.default_rng(0)))
    file = tmp_path / "solid-300.xyz"
    study.run(atoms, EMT(), 300, 3 * study.SAMPLE, file)
    first = file.read_text()
    with pytest.raises(ValueError, match="whose temperature is 300 .*, not 301 "):
        study.run(atoms, EMT(), 301, 5 * study.SAMPLE, file)
    study.run(atoms, EMT(), 300, 5 * study.SAMPLE, file)
    frames = ase.io.read(file, ":")
    assert file.read_text().startswith(first) and len(frames) == 5
    steps = [np.abs(b.positions - a.positions).max() for a, b in zip(frames, frames[1:], strict=False)]
    assert min(steps) > 0 and max(steps) < 0.5  # one trajectory, also where it was taken up again
    assert all("velocities" in a.arrays or "momenta" in a.arrays for a in frames)
    assert all(np.isfinite(a.get_forces()).all() and np.isfinite(a.get_stress()).all() for a in frames)


@pytest.mark.slow
def test_a_potential_compared_with_its_own_trajectory_has_no_errors(monkeypatch):
    monkeypatch.setattr(study, "SETTLE", 0.0)
    potential = mb.ANNPotential(mb.Chebyshev(("Na",), 5.0, 3, 5.0, 2), hidden=(4,), members=2, seed=0)
    begin = bulk("Na", "bcc", 4.3, cubic=True) * (4, 4, 4)
    begin.set_velocities(maxwell_boltzmann(begin, 300, np.random.default_rng(1)))
    frames = study.own_frames(potential, begin, 300, 0.5)
    for atoms in frames:
        atoms.calc.results["forces"] = mb.predict(potential, [atoms])[0]["forces"].mean(0)
    records, curves = study.compare(frames, potential, 300, length=0.5)
    for name in ("energy bias", "pressure bias", "force error (RMS)"):
        assert abs(records[name]["value"]) < 1e-6, name
    assert all(item["n"] == len(frames) for item in records.values())
    assert all(item["sem"] is None or np.isfinite(item["sem"]) for item in records.values())
    assert len(curves["r"]) == len(curves["g"]) == len(study.EDGES) - 1
