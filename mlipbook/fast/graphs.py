"""CUDA graphs: a force call recorded once and replayed, since a GPU runs its kernels faster than Python can
launch them (128 atoms on an H100: 0.7 ms replayed, 10 ms launched one by one; benchmark_dynamics.py).

What is recorded must have fixed shapes, fixed memory, and no question to the numbers on the way: checks of
values are skipped while a graph is recorded. Neighbor tables are padded so that one recording serves many.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from mlipbook.neighbors import Edges
from mlipbook.structures import Structures

COLUMNS = 8  # neighbor tables are padded to multiples of it, with one such block to spare
WARM_UP = 3  # calls before a recording: libraries choose their kernels and allocate in the first ones


def being_recorded(tensor: Tensor) -> bool:
    """Whether a CUDA graph is being recorded now: then there are no numbers to look at."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def fastest(potential: Any, structures: Structures, definition: str) -> Callable[[Structures, Edges], Any]:
    """evaluate as a function of structures like these and edges: on a GPU as a CUDA graph.

    Not of a committee, whose members share a backward pass in a way that cannot be recorded.
    """

    def evaluate(structures: Structures, edges: Edges) -> Any:
        return potential.evaluate(structures, definition, edges)

    single = potential.members == 1
    return Recorded(evaluate) if structures.positions.is_cuda and single else evaluate


class Recorded:
    """evaluate(structures, edges) -> Evaluation as a CUDA graph, recorded anew when shapes outgrow it."""

    def __init__(self, evaluate: Callable[[Structures, Edges], Any]):
        self.evaluate = evaluate
        self.graph: torch.cuda.CUDAGraph | None = None
        self.structures: Structures
        self.edges: Edges
        self.latest: Edges | None = None  # whose table the buffers hold
        self.result: Any = None

    def __call__(self, structures: Structures, edges: Edges) -> Any:
        if self.graph is None or not self.holds(structures, edges):
            self.record(structures, edges)
        assert self.graph is not None
        if edges is not self.latest:
            self.take(edges)
        self.structures.positions.copy_(structures.positions)
        self.structures.cells.copy_(structures.cells)
        self.graph.replay()
        copies = {f.name: getattr(self.result, f.name).clone() for f in fields(self.result)}
        volumes = structures.volumes if any(structures.pbc) else torch.zeros_like(structures.volumes)
        return type(self.result)(**{**copies, "volumes": volumes})

    def holds(self, structures: Structures, edges: Edges) -> bool:
        same = self.structures.positions.shape == structures.positions.shape
        (rows, columns), (own_rows, own_columns) = edges.neighbor.shape, self.edges.neighbor.shape
        return same and rows == own_rows and columns <= own_columns

    def record(self, structures: Structures, edges: Edges) -> None:
        self.graph, self.result = None, None  # frees their memory
        columns = COLUMNS * (edges.neighbor.shape[1] // COLUMNS + 2)
        self.structures = replace(
            structures, positions=structures.positions.clone(), cells=structures.cells.clone()
        )
        self.edges = padded(edges, columns)
        self.latest = edges
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.evaluate(self.structures, self.edges)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.result = self.evaluate(self.structures, self.edges)
        self.graph = graph

    def take(self, edges: Edges) -> None:
        """Copy a neighbor table into the buffers."""
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


def compiled(potential: Any) -> Any:
    """A potential with the same parameters whose atomic energies are compiled to a few large kernels.

    On a GPU several times faster than a kernel for each operation, after a minute of compilation; for a CPU
    see `native`, `native_pairs`.
    """
    faster = copy(potential)
    faster.atomic_energies = torch.compile(potential.atomic_energies, dynamic=False)
    return faster
