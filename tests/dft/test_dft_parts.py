"""Parts of the plane-wave code that stand alone: pseudopotential, functionals, Ewald's sum, smearing."""

import json
import re
from importlib.resources import files
from math import erf, pi, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import spherical_jn

from mlipbook.dft.ewald import ewald
from mlipbook.dft.functionals import FUNCTIONALS, correlation, exchange, gradient_correction, lda, pbe
from mlipbook.dft.pseudopotential import Pseudopotential, read_upf, real_spherical_harmonics, spherical_bessel
from mlipbook.dft.smearing import KINDS, occupations
from mlipbook.units import bohr, hartree

SODIUM = Path(str(files("mlipbook") / "data" / "Na.UPF"))
PW = json.loads((Path(__file__).parents[1] / "data" / "dft" / "na2_ref.json").read_text())


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def largest(values: torch.Tensor) -> float:
    return float(values.detach().abs().max())


# Pseudopotential


@pytest.fixture(scope="module")
def sodium() -> Pseudopotential:
    return read_upf(SODIUM)


def gaussian_upf(a: float = 1.1, Z: float = 3.0, width: float = 0.8) -> str:
    """A UPF file of Gaussians, V(r) = -Z erf(r/width)/r: all its Fourier transforms are known."""
    x = np.arange(1100) * 0.0125 - 7
    r, gaussian = np.exp(x), np.exp(-a * np.exp(2 * x))

    def block(tag: str, values: np.ndarray, attributes: str = "") -> str:
        return f"<{tag} {attributes}>\n{' '.join(f'{v:.17g}' for v in values)}\n</{tag.split()[0]}>"

    betas = [block(f"PP_BETA.{k + 1}", r ** (k + 1) * gaussian, f'angular_momentum="{k}"') for k in range(3)]
    return "\n".join([
        '<UPF version="2.0.1"><PP_INFO> no XML: a < b & c </PP_INFO>',
        f'<PP_HEADER element="Xx" pseudo_type="NC" has_so=".false." core_correction="T" z_valence="{Z}"',
        'functional=" SLA  PW   PBX  PBC"/>',
        "<PP_MESH>" + block("PP_R", r) + block("PP_RAB", 0.0125 * r) + "</PP_MESH>",
        block("PP_NLCC", gaussian),
        block("PP_LOCAL", np.array([-2 * Z * erf(s / width) / s for s in r])),
        "<PP_NONLOCAL>" + "".join(betas) + block("PP_DIJ", np.diag([2, 4, 6]).ravel()) + "</PP_NONLOCAL>",
        block("PP_RHOATOM", 4 * pi * r**2 * (a / pi) ** 1.5 * gaussian),
        "</UPF>",
    ])  # fmt: skip


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory) -> Pseudopotential:
    path = tmp_path_factory.mktemp("upf") / "Xx.upf"
    path.write_text(gaussian_upf())
    return read_upf(path)


def test_form_factors_of_gaussians_are_the_known_ones(gaussian):
    """r^l exp(-a r^2) to pi^(3/2) q^l/(2^l a^(l+3/2)) exp(-q^2/4a), values and slopes."""
    a, Z, width = 1.1, 3.0, 0.8
    q = torch.linspace(0.003, 11.9, 1000, dtype=torch.float64, requires_grad=True)
    known = [(pi / a) ** 1.5 * (q / (2 * a)) ** k * torch.exp(-(q**2) / (4 * a)) for k in range(3)]
    tail = -4 * pi * Z / q**2
    pairs = [
        (gaussian.core, known[0]),
        (gaussian.density, torch.exp(-(q**2) / (4 * a))),
        *((beta, known[k]) for k, beta in gaussian.projectors),
        (gaussian.local, tail * (torch.exp(-((q * width) ** 2) / 4) - torch.exp(-(q**2) / 4))),
    ]
    for table, exact in pairs:
        scale = largest(exact)
        slope, exact_slope = (
            torch.autograd.grad(f.sum(), q, retain_graph=True)[0] for f in (table(q), exact)
        )
        assert largest(table(q) - exact) < 1e-8 * scale
        assert largest(slope - exact_slope) < 1e-6 * scale
    assert largest(gaussian.local_potential(q) - tail * torch.exp(-((q * width) ** 2) / 4)) < 1e-7
    assert [k for k, _ in gaussian.projectors] == [0, 1, 2]
    assert gaussian.functional == "PBE" and gaussian.valence == Z
    assert torch.equal(gaussian.strengths, torch.diag(tensor([1.0, 2.0, 3.0])))  # Ry to hartree


def test_tables_are_smooth_and_say_where_they_end(sodium):
    q = tensor([0.0, 0.004, 0.017, 1.2345, 7.7, 12.0]).requires_grad_()
    nodes = tensor([0.01, 0.5, 3.21, 11.99])
    for table in (sodium.local, sodium.core, sodium.density, sodium.projectors[1][1]):
        inside = q[1:-1].detach().requires_grad_()
        assert torch.autograd.gradcheck(table, (inside,), eps=1e-6, atol=1e-8, rtol=1e-6)
        assert largest(table(nodes + 1e-9) - table(nodes - 1e-9)) < 1e-6
        assert table(q).shape == (6,) and table(q.detach().reshape(2, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match="end at 12 1/bohr, 12.1 was asked for.*q_max"):
        sodium.local(tensor([1.0, 12.1]))
    assert read_upf(SODIUM, q_max=14.0).local(tensor([13.9])).isfinite()


def test_sodium_has_the_charges_that_its_maker_gave_it(sodium):
    zero = tensor(0.0)
    assert (sodium.symbol, sodium.valence, sodium.functional) == ("Na", 1.0, "PBE")
    assert float(sodium.core(zero)) == pytest.approx(1.913, abs=5e-4)
    assert 0.99 < float(sodium.density(zero)) < 1  # the rest is beyond 10 bohr
    assert float(sodium.strengths[0, 0]) == pytest.approx(0.1226346533838459 / 2, rel=1e-15)
    assert [ell for ell, _ in sodium.projectors] == [0, 1]
    # int r^2 [erf(r/width) - 1]/r dr = -width^2/4; the mesh begins at 8e-5 bohr
    assert sodium.alpha - float(sodium.local(zero)) == pytest.approx(pi * sodium.width**2, abs=1e-7)
    assert float(sodium.local_potential(zero)) == sodium.alpha


def test_the_local_potential_does_not_depend_on_the_width(sodium):
    wider = read_upf(SODIUM, width=1.3)
    q = torch.linspace(0.1, 11.9, 300, dtype=torch.float64)
    assert largest(sodium.local_potential(q) - wider.local_potential(q)) < 1e-6


def test_moving_moves_every_tensor(sodium):
    moved = sodium.to("meta")
    tables = [moved.local, moved.core, moved.density, *(beta for _, beta in moved.projectors)]
    assert {t.coefficients.device.type for t in tables} | {moved.strengths.device.type} == {"meta"}


NC = 'pseudo_type="NC"'


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('version="2.0.1"', 'version="1.0"', "no UPF file of version 2"),
        (NC, 'pseudo_type="US" is_ultrasoft="T"', "is of type US, is_ultrasoft: take a norm-conserving"),
        (NC, 'pseudo_type="PAW" is_paw="true"', "is of type PAW, is_paw: take a norm-conserving"),
        ('has_so=".false."', 'has_so="T"', "is of type NC, has_so: take a norm-conserving"),
        ('angular_momentum="2"', 'angular_momentum="3"', "projector of l = 3"),
        (
            "SLA  PW   PBX  PBC",
            "SLA PZ NOGX NOGC",
            "'SLA PZ NOGX NOGC' is not implemented; there are LDA, PBE",
        ),
        ("PP_LOCAL", "PP_LOKAL", "damaged: it has no PP_LOCAL"),
        ("z_valence=", "z_valenz=", "damaged: its PP_HEADER has no z_valence"),
        ("PP_HEADER", "PP_HEAD", "damaged: it has no PP_HEADER"),
        ("</UPF>", "", "damaged"),
        ('z_valence="3.0"', 'z_valence="nan"', "damaged: 'nan' in z_valence, where a number belongs"),
        ('z_valence="3.0"', 'z_valence="-1"', "damaged: z_valence -1"),
        ('z_valence="3.0"', 'z_valence="0"', "damaged: z_valence 0"),
        ('z_valence="3.0"', 'z_valence="3.0" mesh_size="1101"', "PP_R has 1100 numbers instead of 1101"),
        ('z_valence="3.0"', 'z_valence="3.0" number_of_proj="2"', "damaged: 3 projectors, 2 told"),
        ("<PP_LOCAL >", '<PP_LOCAL size="1099">', "PP_LOCAL has 1100 numbers instead of 1099"),
        ("<PP_LOCAL >", '<PP_LOCAL size="many">', "damaged: 'many' in the size of PP_LOCAL"),
        ("<PP_LOCAL >", "<PP_LOCAL > 1.0", "PP_LOCAL has 1101 numbers instead of 1100"),
        ("<PP_R >", "<PP_R > 1.0", "damaged: the radii of PP_R do not grow"),
        ("<PP_RHOATOM >", "<PP_RHOATOM > 0.0", "PP_RHOATOM has 1101 numbers instead of 1100"),
        ("<PP_DIJ >", "<PP_DIJ > 0.0", "PP_DIJ has 10 numbers instead of 9"),
        ("<PP_DIJ >\n2", "<PP_DIJ >\ninf", "damaged: 'inf' in PP_NONLOCAL/PP_DIJ"),
        ("<PP_DIJ >\n2", "<PP_DIJ >\nnan", "damaged: 'nan' in PP_NONLOCAL/PP_DIJ"),
        ("<PP_DIJ >\n2", "<PP_DIJ >\n2x", "damaged: '2x' in PP_NONLOCAL/PP_DIJ"),
        ('angular_momentum="2"', "", "damaged: '' in PP_BETA.3's l"),
        ('angular_momentum="2"', 'angular_momentum="-1"', "has a projector of l"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, old, new, message):
    path = tmp_path / "Xx.upf"
    text = gaussian_upf()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        read_upf(path)
    assert str(path) in str(error.value)


def test_exponents_of_fortran_are_numbers(tmp_path, gaussian):
    path = tmp_path / "Xx.upf"
    path.write_text(re.sub(r"(\d)e([-+]\d)", r"\1D\2", gaussian_upf()))
    assert torch.equal(read_upf(path).local.coefficients, gaussian.local.coefficients)


def test_a_missing_pseudopotential_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.upf"):
        read_upf(tmp_path / "nowhere.upf")


def test_spherical_bessel_functions():
    x = torch.cat((torch.linspace(0, 2, 2001), torch.linspace(2, 120, 3001))).double()
    for ell, j in enumerate(spherical_bessel(3, x)):
        assert largest(j - tensor(spherical_jn(ell, x.numpy()))) < 1e-14


def test_spherical_harmonics_are_orthonormal_and_vanish_smoothly():
    z, weights = np.polynomial.legendre.leggauss(6)
    phi = 2 * pi * np.arange(8) / 8
    s = np.sqrt(1 - z**2)[:, None]
    sphere = np.stack((s * np.cos(phi), s * np.sin(phi), np.broadcast_to(z[:, None], (6, 8))), axis=-1)
    Y = torch.cat([real_spherical_harmonics(ell, tensor(sphere)) for ell in range(3)])
    overlap = torch.einsum("axp,bxp,x->ab", Y, Y, tensor(weights * 2 * pi / 8))
    assert largest(overlap - torch.eye(9, dtype=torch.float64)) < 1e-14
    along_z = torch.cat([real_spherical_harmonics(ell, tensor([0.0, 0.0, 1.0])) for ell in range(3)])
    m_is_zero = [0, 2, 6]
    assert torch.allclose(along_z[m_is_zero], tensor([sqrt((2 * k + 1) / (4 * pi)) for k in range(3)]))
    assert along_z.count_nonzero() == 3
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for ell in (1, 2):
        Y = real_spherical_harmonics(ell, zero)
        assert not Y.any() and torch.autograd.grad(Y.sum(), zero)[0].isfinite().all()
    with pytest.raises(ValueError, match="l = 3"):
        real_spherical_harmonics(3, zero)


# Exchange and correlation


# n, sigma, PBE: n*eps, d/dn, d/dsigma; n*eps of LDA_X + LDA_C_PW. libxc 7.0.0, called through PySCF 2.14.0.
LIBXC = tensor([
    (0.1, 0.02, -3.989844473690e-02, -5.092208013077e-01, -2.485896288736e-02, -3.960596579232e-02),
    (0.01, 5e-4, -2.204972785161e-03, -2.286469455322e-01, -4.767731688184e-01, -1.968153659813e-03),
    (0.003, 1e-5, -4.251967854045e-04, -1.665982295807e-01, -2.194710220154e00, -4.115072810317e-04),
    (1e-3, 1e-4, -1.324162930487e-04, -1.744026876495e-01, -8.069810553218e-03, -9.879197777606e-05),
    (0.5, 2.0, -3.322847012494e-01, -8.242237428585e-01, -4.771720458257e-03, -3.258816103638e-01),
    (2e-4, 1e-8, -1.232209765082e-05, -7.568689319630e-02, -3.887885234776e01, -1.221278898946e-05),
])  # fmt: skip


def test_functionals_agree_with_libxc():
    """LDA to 12 digits. Only in PBE, libxc takes A = 0.0310907 of the correlation for 0.031091."""
    n, sigma, f, f_n, f_sigma, f_lda = LIBXC.T
    n, sigma = n.clone().requires_grad_(), sigma.clone().requires_grad_()
    assert largest(lda(n) / f_lda - 1) < 1e-11
    found = pbe(n, sigma)
    derivatives = torch.autograd.grad(found.sum(), (n, sigma))
    for value, exact in zip((found, *derivatives), (f, f_n, f_sigma), strict=True):
        assert largest(value / exact - 1) < 2e-6


def test_correlation_energy_of_the_uniform_gas():
    """Table I of Perdew and Wang, Phys. Rev. B 45, 13244 (1992), in hartree, by r_s."""
    for r_s, energy in {1: -0.0598, 2: -0.0448, 5: -0.0282, 10: -0.0186}.items():
        assert float(correlation(tensor(3 / (4 * pi * r_s**3)))) == pytest.approx(energy, abs=5e-5)


def test_pbe_is_lda_without_gradient_and_scaled_exchange_in_a_steep_one():
    n = tensor([1e-3, 0.02, 0.4])
    assert torch.equal(pbe(n, torch.zeros_like(n)), lda(n))
    assert largest(gradient_correction(n, 1e-9 * n**2.67)) < 1e-9
    assert largest(pbe(n, torch.full_like(n, 1e12)) / (1.804 * n * exchange(n)) - 1) < 1e-6  # H -> -eps_c


def test_functionals_have_derivatives_everywhere():
    n, sigma = tensor([0.2, 0.01, 3e-4]), tensor([0.3, 1e-3, 1e-6])
    for functional in FUNCTIONALS.values():

        def relative(u, v, f=functional):
            return f(n * torch.exp(u), sigma * torch.exp(v))

        rates = [torch.zeros(3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        assert torch.autograd.gradcheck(relative, rates, eps=1e-5, atol=1e-12, rtol=1e-7)
    n = tensor([-1e-3, 0.0, 1e-12, 1e-8, 1e-2]).requires_grad_()
    sigma = tensor([1.0, 0.0, 1e-3, 1e-3, 0.0]).requires_grad_()
    f = pbe(n, sigma)
    assert torch.equal(f[:3], torch.zeros(3).double()) and torch.equal(f[3:], lda(n)[3:])
    for derivative in torch.autograd.grad(f.sum(), (n, sigma)):
        assert derivative.isfinite().all() and not derivative[:3].any()


# Ewald's sum

CUBE = np.eye(3)
FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
BCC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2
IONIC = {  # cell, fractional position of the anion, nearest distance, Madelung constant (OEIS)
    "rock salt": (FCC, 0.5, 0.5, 1.7475645946331822),
    "cesium chloride": (CUBE, 0.5, sqrt(3) / 2, 1.7626747730709884),
    "zincblende": (FCC, 0.25, sqrt(3) / 4, 1.6380550533887894),
}
WIGNER = {  # energy per electron times r_s/e^2
    "bcc": (BCC, 0.5, -0.895929255682),
    "fcc": (FCC, 0.25, -0.895873615195),
    "simple cubic": (CUBE, 1.0, -0.880059442111),
}


@pytest.mark.parametrize("name", IONIC)
def test_madelung_constants(name):
    cell, anion, distance, constant = IONIC[name]
    cell = 7.3 * tensor(cell)
    positions = tensor([[0.0] * 3, [anion] * 3]) @ cell
    energy = ewald(positions, cell, tensor([1.0, -1.0]))
    assert -float(energy) * 7.3 * distance == pytest.approx(constant, rel=1e-12)


@pytest.mark.parametrize("name", WIGNER)
def test_wigner_crystals(name):
    cell, volume, constant = WIGNER[name]
    r_s = (3 * volume / (4 * pi)) ** (1 / 3)
    energy = ewald(torch.zeros(1, 3).double(), tensor(cell), tensor([1.0]))
    assert float(energy) * r_s == pytest.approx(constant, abs=1e-11)


@pytest.fixture(scope="module")
def charged() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions, cell, charges of 6 ions of total charge 2 in a skew, flat cell."""
    generator = torch.Generator().manual_seed(4)
    cell = tensor([[9.0, 0.0, 0.5], [-3.0, 8.0, 1.0], [1.0, 2.0, 4.5]])
    fractional = torch.rand(6, 3, generator=generator, dtype=torch.float64)
    return 3 * (fractional - 0.5) @ cell, cell, tensor([1.0, 2.0, -1.0, 1.0, -2.0, 1.0])


def test_ewald_depends_on_the_crystal_only(charged):
    """Not on the splitting, the origin, the images or lattice vectors chosen, or the handedness."""
    positions, cell, charges = charged
    energy = float(ewald(positions, cell, charges))
    same = pytest.approx(energy, rel=1e-11)
    for eta in (0.25, 0.4, 0.7):
        assert float(ewald(positions, cell, charges, eta)) == same
    assert float(ewald(positions + tensor([0.3, -5.0, 11.0]), cell, charges)) == same
    images = tensor(np.random.default_rng(0).integers(-3, 4, (6, 3)).astype(float))
    assert float(ewald(positions + images @ cell, cell, charges)) == same
    assert float(ewald(positions, tensor([[1.0, 0, 0], [2, 1, 0], [0, -1, 1]]) @ cell, charges)) == same
    assert float(ewald(-positions, -cell, charges)) == same
    doubled = torch.cat((positions, positions + cell[2]))
    cell_2 = cell * tensor([1.0, 1.0, 2.0])[:, None]
    assert float(ewald(doubled, cell_2, charges.repeat(2))) == pytest.approx(2 * energy, rel=1e-11)


def test_ewald_forces_and_stress_are_its_derivatives(charged):
    positions, cell, charges = charged
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)

    def energy(moved: torch.Tensor, strain: torch.Tensor) -> torch.Tensor:
        deformation = torch.eye(3, dtype=torch.float64) + strain.mT
        return ewald(moved @ deformation, cell @ deformation, charges)

    moved = positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(energy, (moved, strain), eps=1e-5, atol=1e-9, rtol=1e-7)
    forces, virial = torch.autograd.grad(energy(moved, strain), (moved, strain))
    assert largest(forces.sum(0)) < 1e-13
    assert largest(virial - virial.mT) < 1e-12
    assert float(virial.trace()) == pytest.approx(
        -float(energy(moved, strain).detach()), rel=1e-11
    )  # E ~ 1/length


def test_ewald_agrees_with_pw_and_names_coinciding_atoms():
    cell = tensor(PW["cell_A"]) / bohr
    positions = tensor(PW["fractional"]) @ cell
    energy = ewald(positions, cell, tensor([1.0, 1.0]))
    assert 2 * float(energy) == pytest.approx(PW["ewald_Ry"], abs=3e-8)
    with pytest.raises(ValueError, match="atoms 0 and 1 .*same place"):
        ewald(torch.stack((positions[0], positions[0] + cell[1])), cell, tensor([1.0, 1.0]))


# Smearing


@pytest.fixture(scope="module")
def bands() -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues (hartree) and weights of the 32 k points of pw.x."""
    points = PW["kpoints"]
    eigenvalues = tensor([k["eigenvalues_eV"] for k in points]) / hartree
    return eigenvalues, tensor([k["weight"] for k in points])


def free_energy(eigenvalues, weights, electrons, width, kind) -> float:
    f, _, minus_TS = occupations(eigenvalues, weights, electrons, width, kind)
    return float((weights[:, None] * f * eigenvalues).sum() + minus_TS)


@pytest.mark.parametrize("kind", KINDS)
def test_occupations_make_the_free_energy_stationary(bands, kind):
    """Electrons conserved, dF/dN is the Fermi level and dF/d(eigenvalue) the occupation."""
    eigenvalues, weights = bands
    f, fermi, _ = occupations(eigenvalues, weights, 2.0, 0.005, kind)
    assert float((weights[:, None] * f).sum()) == pytest.approx(2.0, abs=1e-12)
    h = 1e-6
    up, down = (free_energy(eigenvalues, weights, 2.0 + s * h, 0.005, kind) for s in (1, -1))
    assert (up - down) / (2 * h) == pytest.approx(float(fermi), abs=1e-8)
    k, b = (f - 1).abs().argmin() // 10, (f - 1).abs().argmin() % 10
    change = torch.zeros_like(eigenvalues)
    change[k, b] = h
    up, down = (free_energy(eigenvalues + s * change, weights, 2.0, 0.005, kind) for s in (1, -1))
    assert 0.2 < f[k, b] < 1.8
    assert (up - down) / (2 * h) == pytest.approx(float(weights[k] * f[k, b]), abs=1e-8)


def test_fermi_level_and_entropy_agree_with_pw(bands):
    """To what pw.x prints: eigenvalues and Fermi level 4 decimals of eV, -TS 1e-8 Ry."""
    _, fermi, minus_TS = occupations(*bands, 2.0, PW["kT_Ry"] / 2)
    assert float(fermi) * hartree == pytest.approx(PW["fermi_eV"], abs=1e-4)
    assert 2 * float(minus_TS) == pytest.approx(PW["minus_TS_Ry"], abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_is_the_integral_of_x_df(kind):
    filling, entropy = KINDS[kind]
    x = torch.linspace(-40, 8, 200_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(filling(x).sum(), x)
    steps = (x * slope).detach()
    integral = torch.cumulative_trapezoid(steps, dx=float((x[1] - x[0]).detach()))
    assert largest(entropy(x)[1:] - integral) < 1e-8
    assert float(filling(tensor(-40.0))) < 1e-15 and float(filling(tensor(40.0))) == 1


def test_two_levels_have_the_entropy_of_the_textbook():
    """Two electrons in two bands of equal energy: four half-filled spin states, S = 4 ln 2."""
    f, fermi, minus_TS = occupations(tensor([[0.1, 0.1, 3.0]]), tensor([1.0]), 2.0, 0.01)
    assert torch.allclose(f[0], tensor([1.0, 1.0, 0.0]), atol=1e-12)
    assert float(fermi) == pytest.approx(0.1, abs=1e-13)
    assert float(minus_TS) == pytest.approx(-0.01 * 4 * np.log(2), rel=1e-12)


def test_free_electron_gas():
    """Plane waves on a dense k mesh fill to the Fermi-Dirac integral of sqrt(energy)."""
    side, kT, electrons = 7.5, 0.01, 2.0
    axis = 2 * pi / side * (torch.arange(36, dtype=torch.float64) + 0.5) / 36
    k = torch.cartesian_prod(axis, axis, axis) - pi / side
    G = 2 * pi / side * torch.cartesian_prod(*[torch.arange(-1.0, 2.0).double()] * 3)
    eigenvalues = ((k[:, None] + G).square().sum(-1) / 2).sort(dim=1).values
    weights = torch.full((len(k),), 1 / len(k), dtype=torch.float64)
    f, fermi, minus_TS = occupations(eigenvalues, weights, electrons, kT)
    p = torch.linspace(0, 4, 100_001, dtype=torch.float64)
    filled = torch.sigmoid((fermi - p**2 / 2) / kT)
    entropy = torch.special.entr(filled) + torch.special.entr(1 - filled)
    states = side**3 / pi**2 * p**2
    assert float(torch.trapezoid(states * filled, p)) == pytest.approx(electrons, rel=1e-5)
    assert float(torch.trapezoid(states * entropy, p)) == pytest.approx(-float(minus_TS) / kT, rel=1e-3)


def test_smearing_refuses_what_cannot_be():
    eigenvalues, weights = tensor([[0.0, 0.1], [0.0, 0.2]]), tensor([0.5, 0.5])
    with pytest.raises(ValueError, match="2 bands hold at most 4 electrons, there are 5: add bands"):
        occupations(eigenvalues, weights, 5.0, 0.01)
    with pytest.raises(ValueError, match="highest of 2 bands has occupation .*: add bands"):
        occupations(eigenvalues, weights, 2.5, 0.01)
    with pytest.raises(ValueError, match="smearing 'gauss': give one of fermi-dirac, cold"):
        occupations(eigenvalues, weights, 1.0, 0.01, "gauss")
    with pytest.raises(ValueError, match="width 0.0: give a positive number"):
        occupations(eigenvalues, weights, 1.0, 0.0)
