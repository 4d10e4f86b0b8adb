"""Our potentials in LAMMPS, as an independent code."""
