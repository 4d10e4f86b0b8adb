"""Norm-conserving pseudopotentials: UPF files in, radial functions of the wave number q out.

Hartree atomic units. Every radial function is a form factor without structure factor and without
1/volume. The integrals are Simpson sums on the mesh of the file, cut near 10 bohr, where the
exact tail -Z/r is noise: the convention of Quantum ESPRESSO, so that the numbers can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi, sqrt
from pathlib import Path

import torch
from torch import Tensor

from mlipbook.dft.functionals import functional_name
from mlipbook.dft.upf import UPF

R_CUT = 10.0  # bohr, end of the radial integrals
DQ = 0.01  # 1/bohr, spacing of the tables: interpolation right to some 1e-9
ELL_MAX = 2


@dataclass(frozen=True)
class Table:
    """A radial function of q on a uniform grid, cubic between nodes, where value and slope are exact."""

    coefficients: Tensor  # (n, 4), of 1, t, t^2, t^3 with t = q/DQ - interval

    def __call__(self, q: Tensor) -> Tensor:
        """Values at wave numbers q >= 0 (1/bohr, any shape). ValueError beyond the end of the table."""
        n = len(self.coefficients)
        if q.numel() and (largest := float(q.detach().max())) > n * DQ:
            raise ValueError(
                f"the radial tables end at {n * DQ:g} 1/bohr, {largest:g} was asked for: "
                "give read_upf a larger q_max"
            )
        x = q / DQ
        interval = x.detach().long().clamp(max=n - 1)
        t = x - interval
        c0, c1, c2, c3 = self.coefficients[interval].unbind(-1)
        return c0 + t * (c1 + t * (c2 + t * c3))

    def to(self, device: torch.device | str) -> Table:
        return Table(self.coefficients.to(device))


@dataclass(frozen=True)
class Pseudopotential:
    """What a plane-wave calculation needs to know of an element; V_NL = sum_ij |beta_i> strengths_ij <beta_j|
    with every m of a projector.
    """

    symbol: str
    valence: float  # number of electrons Z
    functional: str  # key of functionals.FUNCTIONALS
    projectors: tuple[tuple[int, Table], ...]  # l, beta_l(q) = 4 pi int r^2 beta(r) j_l(qr) dr
    strengths: Tensor  # (P, P) hartree
    local: Table  # 4 pi int r^2 [V(r) + Z erf(r/width)/r] j_0(qr) dr, hartree bohr^3
    alpha: (
        float  # 4 pi int r^2 [V(r) + Z/r] dr; N alpha/volume: an atom's energy in a uniform density N/volume
    )
    width: float
    core: Table | None  # charge of the nonlinear core correction
    density: Table  # of the free atom; density(0) = Z but for the little beyond R_CUT
    sha256: str

    def local_potential(self, q: Tensor) -> Tensor:
        """V(q) in hartree bohr^3; at q = 0, where other charges cancel -4 pi Z/q^2, the rest alpha."""
        q_safe = torch.where(q > 0, q, 1.0)
        tail = -4 * pi * self.valence * torch.exp(-((q * self.width / 2) ** 2)) / q_safe**2
        return torch.where(q > 0, self.local(q) + tail, self.alpha)

    @property
    def strengths_of_m(self) -> Tensor:
        """Strengths (F, F) of the projectors with every m, l = 0: one, l = 1: three, ...; diagonal in m."""
        indices = [(i, ell, m) for i, (ell, _) in enumerate(self.projectors) for m in range(2 * ell + 1)]
        i, ell, m = torch.tensor(indices, device=self.strengths.device).T
        same = (ell[:, None] == ell) & (m[:, None] == m)
        return self.strengths[i[:, None], i] * same

    def to(self, device: torch.device | str) -> Pseudopotential:
        return replace(
            self,
            projectors=tuple((ell, beta.to(device)) for ell, beta in self.projectors),
            strengths=self.strengths.to(device),
            local=self.local.to(device),
            core=self.core and self.core.to(device),
            density=self.density.to(device),
        )


def read_upf(path: str | Path, q_max: float = 12.0, width: float = 1.0) -> Pseudopotential:
    """Read a norm-conserving, scalar relativistic pseudopotential from a UPF file of version 2.

    q_max: end of the tables, 1/bohr: the radius sqrt(2 ecut_density) of the density's sphere, with room for
    strain. width: of the charge that carries the long range, bohr; 1 is Quantum ESPRESSO's.
    Raises FileNotFoundError, and ValueError with the file's name for what this code does not do.
    """
    file = UPF.read(Path(path))
    functional = functional_name(file.header["functional"], where=str(path))
    Z, projectors, mesh = file.valence(), file.projectors(ELL_MAX), file.mesh()
    beyond = int((mesh <= R_CUT).sum())
    points = min(beyond, len(mesh) - 1) | 1  # at most one beyond R_CUT; odd, for Simpson's rule

    def field(tag: str) -> Tensor:
        return file.numbers(tag, len(mesh))[:points]

    thirds = torch.full((points,), 2.0, dtype=torch.float64)  # Simpson's rule, 1, 4, 2, 4, ..., 4, 1
    thirds[1::2], thirds[0], thirds[-1] = 4.0, 1.0, 1.0
    r, dr = field("PP_MESH/PP_R"), thirds * field("PP_MESH/PP_RAB") / 3
    q = DQ * torch.arange(int(q_max / DQ + 1.5), dtype=torch.float64)
    j = spherical_bessel(ELL_MAX + 1, q[:, None] * r)

    def table(integrand: Tensor, ell: int = 0) -> Table:
        slope = ((ell * j[ell - 1] if ell else 0.0) - (ell + 1) * j[ell + 1]) / (2 * ell + 1)  # j_l'
        values, slopes = j[ell] @ (dr * integrand), DQ * slope @ (dr * r * integrand)
        f, g, s, u = values[:-1], values[1:], slopes[:-1], slopes[1:]
        return Table(torch.stack((f, s, 3 * (g - f) - 2 * s - u, 2 * (f - g) + s + u), dim=-1))

    rV, shape = r * field("PP_LOCAL") / 2, (len(projectors),) * 2  # Ry to hartree
    return Pseudopotential(
        symbol=file.header["element"].strip(),
        valence=Z,
        functional=functional,
        projectors=tuple((ell, table(4 * pi * r * field(tag), ell)) for tag, ell in projectors),
        strengths=file.numbers("PP_NONLOCAL/PP_DIJ", len(projectors) ** 2).reshape(shape) / 2,
        local=table(4 * pi * r * (rV + Z * torch.erf(r / width))),
        alpha=float(dr @ (4 * pi * r * (rV + Z))),
        width=width,
        core=table(4 * pi * r**2 * field("PP_NLCC")) if file.tells("core_correction") else None,
        density=table(field("PP_RHOATOM")),
        sha256=file.sha256,
    )


def spherical_bessel(ell_max: int, x: Tensor) -> list[Tensor]:
    """j_0(x) .. j_ell_max(x), x >= 0, by upward recurrence; by power series below 1, where that cancels."""
    small, safe = x.clamp(max=1.0), x.clamp(min=1.0)
    sine, cosine = torch.sin(safe) / safe, torch.cos(safe) / safe
    large, result = [sine, sine / safe - cosine], []
    leading = torch.ones_like(x)  # x^l/(2l+1)!!
    for ell in range(ell_max + 1):
        if ell > 1:
            large.append((2 * ell - 1) / safe * large[-1] - large[-2])
        series = torch.ones_like(x)
        for k in range(9, 0, -1):
            series = 1 - series * small**2 / (2 * k * (2 * (ell + k) + 1))
        result.append(torch.where(x < 1, leading * series, large[ell]))
        leading = leading * small / (2 * ell + 3)
    return result


def real_spherical_harmonics(ell: int, unit_vectors: Tensor) -> Tensor:
    """Y_lm, m = -l..l, of unit vectors (..., 3): (2l+1, ...), l <= 2; at 0 all but l = 0 vanish."""
    x, y, z = unit_vectors.unbind(-1)
    if ell == 0:
        return torch.full_like(x, sqrt(1 / (4 * pi)))[None]
    if ell == 1:
        return sqrt(3 / (4 * pi)) * torch.stack((y, z, x))
    if ell == 2:
        d = (x * y, y * z, (2 * z * z - x * x - y * y) / sqrt(12), z * x, (x * x - y * y) / 2)
        return sqrt(15 / (4 * pi)) * torch.stack(d)
    raise ValueError(f"spherical harmonics of l = {ell}; only l <= {ELL_MAX} is implemented")
