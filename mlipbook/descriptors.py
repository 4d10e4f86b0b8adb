"""Chebyshev descriptors of aenet, in the power-spectrum form whose cost is linear in the neighbors.

Definition (Artrith, Urban, Ceder, PRB 96, 014112 (2017), as the aenet code computes it), for a center
with neighbors j at distance r_j, directions u_j, species weights w_j:

    Gr_n = sum_j      w_j     T_n(2 r_j/Rr - 1) fc(r_j; Rr)                 n = 0..Nr
    Ga_n = sum_{j<k}  w_j w_k T_n(u_j . u_k)    fc(r_j; Ra) fc(r_k; Ra)     n = 0..Na

with w = 1, and once more with integer species weights if there is more than one species.

The angular sum needs no triplets: T_n is a sum of Legendre polynomials, T_n = sum_l c_nl P_l, and by
the addition theorem sum_jk f_j f_k P_l(u_j . u_k) = sum_m A_lm^2, A_lm = sum_j f_j Q_lm(z_j) e_m(x_j, y_j),
where Q_lm e_m is the real spherical harmonic up to a factor, e_m = Re, Im (x + iy)^m. A_lm in turn is
linear in the moments M_mp = sum_j f_j e_m(x_j, y_j) T_p(z_j): one small matrix product per center.
"""

from functools import partial
from math import factorial, pi
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from numpy.polynomial import chebyshev as cheb
from numpy.polynomial import legendre as leg
from torch import Tensor, nn

from mlipbook import neighbors
from mlipbook.checks import element, positive, whole
from mlipbook.structures import Structures

MOST_RADIAL, MOST_ANGULAR = 100, 50  # orders: four times what anyone has used


NUMBERS = ("radial_cutoff", "radial_order", "angular_cutoff", "angular_order")


class Chebyshev(nn.Module):
    """Chebyshev features of atomic environments (module docstring for the equations).

    species: element symbols; their order sets the species weights, integers around zero (two species:
    -1, +1; three: -1, 0, +1; four: -2, -1, +1, +2). environments: another order for the neighbors of
    some centers, {element: order}, as aenet's setup files may have. Cutoffs in angstrom. ValueError for what
    these cannot be. Features per atom: [Gr 0..Nr | Ga 0..Na], of several species then both with weights.
    """

    legendre: Tensor
    harmonics: Tensor
    weights: Tensor

    def __init__(
        self,
        species: tuple[str, ...],
        radial_cutoff: float,
        radial_order: int,
        angular_cutoff: float,
        angular_order: int,
        environments: dict[str, tuple[str, ...]] | None = None,
    ):
        super().__init__()
        self.species = (species,) if isinstance(species, str) else tuple(species)
        self.radial_cutoff = positive(radial_cutoff, "radial_cutoff", "in angstrom")
        self.angular_cutoff = positive(angular_cutoff, "angular_cutoff", "in angstrom")
        self.radial_order = whole(radial_order, "radial_order", 0, MOST_RADIAL)
        self.angular_order = whole(angular_order, "angular_order", 0, MOST_ANGULAR)
        self.environments = {s: tuple((environments or {}).get(s, self.species)) for s in self.species}
        for symbol in self.species:
            element(symbol, "species")
        if not self.species or len(set(self.species)) != len(self.species):
            raise ValueError(f"species {self.species}: give each element symbol once")
        for center, order in self.environments.items():
            if sorted(order) != sorted(self.species):
                raise ValueError(f"environment of {center} lists {order}, not the species {self.species}")
        self.cutoff = max(self.radial_cutoff, self.angular_cutoff)
        self.n_features = (self.radial_order + self.angular_order + 2) * (2 if len(self.species) > 1 else 1)
        legendre, harmonics = _angular_tables(self.angular_order)
        self.register_buffer("legendre", legendre)  # c_nl (n, l)
        self.register_buffer("harmonics", harmonics)  # Q_lm in Chebyshev polynomials of z, (m, l, p)
        self.register_buffer("weights", self._species_weights())  # (Z center, Z neighbor)

    def _apply(self, *arguments: Any, **keywords: Any) -> "Chebyshev":
        """Move or cast; tables come from exact ones, since those cast to float32 before stay rounded."""
        super()._apply(*arguments, **keywords)
        self.legendre, self.harmonics = (t.to(self.weights) for t in _angular_tables(self.angular_order))
        return self

    def _species_weights(self) -> Tensor:
        n = len(self.species)
        values = [v for v in range(-(n // 2), n // 2 + 1) if v != 0 or n % 2]
        table = torch.zeros(len(chemical_symbols), len(chemical_symbols), dtype=torch.float64)
        for center, order in self.environments.items():
            for neighbor, value in zip(order, values, strict=True):
                table[atomic_numbers[center], atomic_numbers[neighbor]] = value
        return table

    @property
    def settings(self) -> dict:
        """The arguments that make this descriptor again."""
        names = ("species", *NUMBERS, "environments")
        return {name: getattr(self, name) for name in names}

    def identified_by(self) -> Any:
        """What `archive.identity` knows it by: all tables follow from the settings."""
        return "Chebyshev", self.settings, self.weights.dtype

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())

    def features(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        """Features (A, n_features) of A centers from edge vectors (3, A, K), angstrom; differentiable."""
        r = vectors.square().sum(0).sqrt()  # (A, K)
        weights = self.weights[center_species[:, None], neighbor_species] if len(self.species) > 1 else None
        radial = self._radial(r, weights)  # for each set of weights (Nr + 1, A)
        angular = self._angular(vectors / r, r, weights)  # for each set (Na + 1, A)
        return torch.cat([block for pair in zip(radial, angular, strict=True) for block in pair]).T

    def _radial(self, r: Tensor, weights: Tensor | None) -> list[Tensor]:
        x = 2 * r.clamp(max=self.radial_cutoff) / self.radial_cutoff - 1  # (A, K), from -1 to 1
        fT = chebyshev_series(x, self.radial_order, cutoff_function(r, self.radial_cutoff))  # (n, A, K)
        return [G.sum(-1) for G in with_weights(fT, weights)]  # each (n, A)

    def _angular(self, u: Tensor, r: Tensor, weights: Tensor | None) -> list[Tensor]:
        f = cutoff_function(r, self.angular_cutoff)  # (A, K)
        fT = with_weights(chebyshev_series(u[2], self.angular_order, f), weights)  # of each set (p, A, K)
        e = circular_functions(u[0], u[1], self.angular_order)  # (m, A, K)
        M = e.transpose(0, 1) @ torch.cat(fT).permute(1, 2, 0)  # (A, m, K) @ (A, K, sets p): (A, m, sets p)
        M = M.transpose(0, 1).unflatten(-1, (len(fT), -1))  # moments (m, A, sets, p)
        A = M.flatten(1, 2) @ self.harmonics.mT  # (m, A sets, p) @ (m, p, l): A_lm as (m, A sets, l)
        P = A.square().sum(0).unflatten(0, (-1, len(fT)))  # sum_jk f_j f_k P_l(u_j.u_k), (A, sets, l)
        self_terms = torch.stack([g.square().sum(-1) for g in with_weights(f, weights)])  # j = k, (sets, A)
        G = (P.transpose(0, 1) @ self.legendre.T - self_terms[..., None]) / 2  # pairs once, (sets, A, n)
        return list(G.mT)  # of each set (n, A)

    def compute(self, atoms: Atoms) -> np.ndarray:
        """Features of one structure (N, n_features), dimensionless, in aenet's order; ValueError for species
        that the descriptor does not know.
        """
        structures = Structures.from_ase(atoms)
        self.check_species(structures)
        edges = neighbors.build(structures, self.cutoff)
        return self.features(edges.vectors(structures), *edges.species(structures)).numpy()

    def check_species(self, structures: Structures) -> None:
        """Raise ValueError naming the first atom whose species the descriptor does not know."""
        for i, symbol in enumerate(structures.symbols):
            if symbol not in self.species:
                known = f"the descriptor knows only {', '.join(self.species)}"
                raise ValueError(f"atom {i} is {symbol}, but {known}; list {symbol} in its species")


def cutoff_function(r: Tensor, cutoff: float) -> Tensor:
    """fc = (cos(pi r/Rc) + 1)/2 inside, 0 outside; its second derivative jumps at Rc."""
    return torch.where(r < cutoff, 0.5 * torch.cos(pi / cutoff * r) + 0.5, torch.zeros_like(r))


def chebyshev_series(x: Tensor, order: int, seed: Tensor) -> Tensor:
    """seed * T_n(x), n = 0..order, stacked in front, by T_(n+1) = 2 x T_n - T_(n-1)."""
    T, twice = [seed, seed * x], 2 * x
    for _ in range(order - 1):
        T.append(twice * T[-1] - T[-2])
    return torch.stack(T[: order + 1])


def with_weights(values: Tensor, weights: Tensor | None) -> list[Tensor]:
    """The values as they are and, if there are several species, once more times the species weights."""
    return [values] if weights is None else [values, values * weights]


def circular_functions(x: Tensor, y: Tensor, order: int) -> Tensor:
    """Re (x + iy)^m, m = 0..order, then Im (x + iy)^m, m = 1..order, stacked in front."""
    real, imaginary = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(order):
        a, b = real[-1], imaginary[-1]
        real.append(a * x - b * y)
        imaginary.append(a * y + b * x)
    return torch.stack(real + imaginary[1:])


def _angular_tables(order: int) -> tuple[Tensor, Tensor]:
    """c_nl of T_n = sum_l c_nl P_l, and Q_lm of the addition theorem as Chebyshev series in z.

    P_l(u.u') = sum_m Q_lm(z) Q_lm(z') [cos and sin parts of e_m e_m'],
    Q_lm = sqrt((2 - delta_m0) (l - m)!/(l + m)!) d^m P_l/dz^m. Both by Gauss-Legendre/Chebyshev
    quadrature, exact for polynomials and free of the cancellation of power series.
    """
    x, w = leg.leggauss(order + 1)
    degree = np.arange(order + 1) + 0.5
    legendre = degree * np.einsum("x,xn,xl->nl", w, cheb.chebvander(x, order), leg.legvander(x, order))
    harmonics = np.zeros((2 * order + 1, order + 1, order + 1))
    for l in range(order + 1):  # noqa: E741
        for m in range(l + 1):
            derivative = leg.legder(np.eye(order + 1)[l], m)
            norm = np.sqrt((2 - (m == 0)) * factorial(l - m) / factorial(l + m))
            series = norm * cheb.chebinterpolate(partial(leg.legval, c=derivative), order)
            harmonics[[m, order + m] if m else m, l] = series
    return torch.as_tensor(legendre), torch.as_tensor(harmonics)
