"""CUDA graphs: a force call recorded once and replayed, since a GPU runs its kernels faster than Python can
launch them (128 atoms on an H100: 0.7 ms replayed, 10 ms launched one by one; benchmark_dynamics.py).

What is recorded must have fixed shapes, fixed memory, and no question to the numbers on the way: checks of
values are skipped while a graph is recorded. Neighbor tables are padded so that one recording serves many.
"""

from copy import copy
from dataclasses import fields, replace
from itertools import chain

import torch

from mlipbook import neighbors
from mlipbook.neighbors import Edges
from mlipbook.potentials import Definition, EdgePotential, Evaluation, Potential
from mlipbook.potentials.contract import Form
from mlipbook.potentials.edge import volumes_of
from mlipbook.structures import Structures

COLUMNS = 8  # neighbor tables are padded to multiples of it, with one such block to spare
WARM_UP = 3  # calls before a recording: libraries choose their kernels and allocate in the first ones


class Recorded(Form):
    """A potential whose `evaluate` on a GPU is a CUDA graph, recorded when shapes come a second time in a
    row, and anew when they, or the potential's tensors, are others. Elsewhere the potential is asked itself.

    A committee is not recorded: its members share a backward pass in a way that cannot be. What a potential
    holds beside tensors (zeros of energy, cutoffs) is part of a recording: ask for a new one after a change.
    """

    def __init__(self, potential: Potential):
        super().__init__(potential)
        self.forget()

    def forget(self) -> None:
        """Free the memory of the recording."""
        self.graph: torch.cuda.CUDAGraph | None = None
        self.structures: Structures | None = None
        self.edges: Edges | None = None
        self.latest: Edges | None = None  # whose table the buffers hold
        self.result: Evaluation | None = None
        self.definition: Definition | None = None
        self.met: tuple = ()  # shapes of the last call
        self.tensors: list[torch.Tensor] = []  # of the potential, and where they lay
        self.places: list[int] = []

    def __getstate__(self) -> dict:
        """What a copy needs: a recording stays with its process."""
        kept = copy(self)
        kept.forget()
        return vars(kept)

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """As of the potential; species are looked at, distances are not (CloserThanTrained)."""
        if not structures.positions.is_cuda or self.members > 1:
            return self.potential.evaluate(structures, definition, edges)
        if edges is None:
            edges = neighbors.build(structures, self.cutoff)
        if self.graph is None or not self.holds(structures, definition, edges):
            if not self.comes_again(structures, definition, edges):
                return self.potential.evaluate(structures, definition, edges)
            self.record(structures, definition, edges)
        return self.replayed(structures, edges)

    def comes_again(self, structures: Structures, definition: Definition, edges: Edges) -> bool:
        """Whether the last call was like this one, which `evaluate` then did not refuse."""
        likeness = (structures.positions.shape, structures.pbc, definition, edges.cutoff)
        known, self.met = self.met == likeness, likeness
        return known and edges.cutoff >= self.cutoff

    def holds(self, structures: Structures, definition: Definition, edges: Edges) -> bool:
        assert self.structures is not None and self.edges is not None
        own, (rows, columns) = self.structures, edges.neighbor.shape
        species = structures.species is own.species or torch.equal(structures.species, own.species)
        same = own.positions.shape == structures.positions.shape and own.pbc == structures.pbc and species
        fits = rows == self.edges.neighbor.shape[0] and columns <= self.edges.neighbor.shape[1]
        reaches = self.edges.cutoff == edges.cutoff
        unmoved = self.places == [x.data_ptr() for x in self.tensors]
        return same and fits and reaches and unmoved and definition == self.definition

    def replayed(self, structures: Structures, edges: Edges) -> Evaluation:
        assert self.graph is not None and self.structures is not None and self.result is not None
        if edges is not self.latest:
            self.take(edges)
        self.structures.positions.copy_(structures.positions)
        self.structures.cells.copy_(structures.cells)
        self.graph.replay()
        copies = {f.name: getattr(self.result, f.name).clone() for f in fields(self.result)}
        return type(self.result)(**{**copies, "volumes": volumes_of(structures)})

    def record(self, structures: Structures, definition: Definition, edges: Edges) -> None:
        self.forget()
        columns = COLUMNS * (edges.neighbor.shape[1] // COLUMNS + 2)
        self.structures = replace(
            structures, positions=structures.positions.clone(), cells=structures.cells.clone()
        )
        self.edges = padded(edges, columns)
        self.latest, self.definition = edges, definition
        self.tensors = [*chain(self.parameters(), self.buffers())]
        self.places = [x.data_ptr() for x in self.tensors]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.potential.evaluate(self.structures, definition, self.edges)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.result = self.potential.evaluate(self.structures, definition, self.edges)
        self.graph = graph

    def take(self, edges: Edges) -> None:
        """Copy a neighbor table into the buffers."""
        assert self.edges is not None
        wide = padded(edges, self.edges.neighbor.shape[1])
        for name in ("neighbor", "shifts", "real"):
            getattr(self.edges, name).copy_(getattr(wide, name))
        self.latest = edges


def padded(edges: Edges, columns: int) -> Edges:
    """The same pairs in a table (A, columns) that is as wide or wider; the padding points at the center."""
    A, missing = len(edges.neighbor), columns - edges.neighbor.shape[1]
    own = torch.arange(A, device=edges.neighbor.device)[:, None].expand(A, missing)
    return replace(
        edges,
        neighbor=torch.cat([edges.neighbor, own], 1),
        shifts=torch.nn.functional.pad(edges.shifts, (0, missing)),
        real=torch.nn.functional.pad(edges.real, (0, missing)),
    )


def compiled(potential: EdgePotential) -> EdgePotential:
    """A potential with the same parameters whose atomic energies are compiled to a few large kernels. On a
    GPU several times faster than a kernel for each operation, after a minute of compilation: for long runs,
    before they are recorded.
    """
    faster = copy(potential)
    faster.atomic_energies = torch.compile(potential.atomic_energies, dynamic=False)  # type: ignore[method-assign]
    return faster
