"""Green-Kubo and cepstral analysis against series of known conductivity."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from scipy.special import polygamma

import mlipbook as mb
from mlipbook.heat import cepstral, green_kubo
from mlipbook.units import W_per_m_K, kB, ps

V, T, DT = 8000.0, 500.0, 0.3  # A^3, K, internal time
UNIT = 1 / (V * kB * T**2) / W_per_m_K  # of int <Omega J Omega J> dt, to W/m/K
SPAN = dict(interval=DT, volume=V, temperature=T)


def ar1(phi: float, sigma: float, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """x_(n+1) = phi x_n + noise, of variance sigma^2, stationary, (T, B, 3): an Ornstein-Uhlenbeck process
    looked at in intervals. Covariance sigma^2 phi^k."""
    noise = rng.standard_normal((*shape, 3)) * sigma * (1 - phi**2) ** 0.5
    noise[0] /= (1 - phi**2) ** 0.5
    return lfilter([1.0], [1.0, -phi], noise, axis=0)


def integral(phi: float, sigma: float, lags: int) -> np.ndarray:
    """By trapezoids, int_0^t sigma^2 phi^k up to 1..lags intervals; at last sigma^2 DT (1+phi)/(1-phi)/2."""
    C = sigma**2 * phi ** np.arange(lags + 1)
    return DT * ((C[1:] + C[:-1]) / 2).cumsum()


def two_components(rng, shape=(4000, 12), h=1.7, **settings) -> tuple[np.ndarray, np.ndarray]:
    """A flux J' + h V_1 of two independent processes: at zero mass current, J' alone conducts."""
    heat, current = ar1(0.8, 2.0, shape, rng), ar1(0.6, 0.9, shape, rng)
    return heat + h * current, current


# ---- identities --------------------------------------------------------------------------------------


def test_fourier_transforms_give_the_direct_sums():
    x, y = np.random.default_rng(0).standard_normal((2, 60, 9, 3))
    found = green_kubo(x, until=6 * DT, currents=y, **SPAN)
    for a, b, p, q in ((x, x, 0, 0), (x, y, 0, 1), (y, y, 1, 1)):
        C = np.array(
            [np.mean([a[t + k] * b[t] + b[t + k] * a[t] for t in range(len(x) - k)]) / 2 for k in range(7)]
        )
        expected = UNIT * DT * ((C[1:] + C[:-1]) / 2).cumsum()
        np.testing.assert_allclose(found.coefficients[:, p, q], expected, rtol=1e-12)
    np.testing.assert_allclose(found.time, DT * np.arange(1, 7))


def test_units_are_those_of_the_book():
    """A flux J (eV A/ps) that stays for t (ps): kappa = 1602.1766 J^2 t/(Omega kB T^2)."""
    J = 3.0  # eV A/ps
    fluxes = np.full((200, 8, 3), J / ps)  # in eV A per internal time
    found = green_kubo(fluxes, 0.01 * ps, V, T, until=0.5 * ps)
    kappa = 1602.176634 * J**2 * 0.5 / (V * 8.617333262e-5 * T**2)
    assert float(found.kappa[-1]) == pytest.approx(kappa, rel=1e-9)
    assert float(found.kappa_error[-1]) < 1e-9 * kappa  # all replicas agree


@pytest.mark.parametrize("offset", [-1.2, 0.5, 30.0])
def test_corrected_conductivity_does_not_know_the_zero_of_energy(offset):
    """Energies shifted by species add offset*V_1 to the flux: L_qq and h follow, kappa stays."""
    fluxes, currents = two_components(np.random.default_rng(1))
    before = green_kubo(fluxes, until=10 * DT, currents=currents, **SPAN)
    after = green_kubo(fluxes + offset * currents, until=10 * DT, currents=currents, **SPAN)
    torch.testing.assert_close(after.corrected, before.corrected, rtol=1e-9, atol=0)
    torch.testing.assert_close(after.corrected_error, before.corrected_error, rtol=1e-7, atol=0)
    torch.testing.assert_close(after.enthalpy, before.enthalpy + offset, rtol=1e-9, atol=1e-9)
    L = before.coefficients
    raised = L[:, 0, 0] + 2 * offset * L[:, 0, 1] + offset**2 * L[:, 1, 1]
    torch.testing.assert_close(after.coefficients[:, 0, 0], raised, rtol=1e-9, atol=0)
    assert abs(float(after.kappa[-1] / before.kappa[-1]) - 1) > 0.1
    zero = cepstral(fluxes, cutoff=0.5 / DT, currents=currents, **SPAN)
    shifted = cepstral(fluxes + offset * currents, cutoff=0.5 / DT, currents=currents, **SPAN)
    assert shifted.value == pytest.approx(zero.value, rel=1e-9)


def test_one_component_needs_no_correction():
    found = green_kubo(ar1(0.7, 1.0, (500, 9), np.random.default_rng(2)), until=5 * DT, **SPAN)
    assert torch.equal(found.corrected, found.kappa) and torch.equal(found.corrected_error, found.kappa_error)
    assert found.coefficients.shape == (5, 1, 1) and not len(found.enthalpy)


def test_errors_of_means_are_those_of_the_replicas():
    """For a linear quantity the jackknife is the standard error; a single long run is cut into blocks."""
    x = ar1(0.5, 1.0, (400, 16), np.random.default_rng(3))
    found = green_kubo(x, until=4 * DT, **SPAN)
    each = np.array([green_kubo(x[:, [b, b]], until=4 * DT, **SPAN).kappa[-1] for b in range(16)])
    assert float(found.kappa_error[-1]) < 1.1 * each.std(ddof=1) / 4
    eight = torch.as_tensor(x[:, :8])
    single = eight.transpose(0, 1).reshape(-1, 1, 3)  # one after the other
    cut, whole = green_kubo(single, until=4 * DT, **SPAN), green_kubo(eight, until=4 * DT, **SPAN)
    torch.testing.assert_close(cut.kappa, whole.kappa)
    torch.testing.assert_close(cut.kappa_error, whole.kappa_error)
    values = [green_kubo(torch.stack([eight[:, b]] * 8, 1), until=4 * DT, **SPAN).kappa for b in range(8)]
    expected = torch.stack(values).std(0) / 8**0.5
    torch.testing.assert_close(whole.kappa_error, expected)


# ---- known conductivities, by many seeds ---------------------------------------------------------------


def z_scores(found: list[tuple[float, float]], exact: float) -> np.ndarray:
    value, error = np.array(found).T
    return (value - exact) / error


def test_green_kubo_of_an_ornstein_uhlenbeck_flux():
    """Mean over 60 runs within 3 standard errors of the exact integral; its error: z-scores of unit size."""
    exact = UNIT * integral(0.8, 2.0, 20)[-1]
    found = []
    for seed in range(60):
        result = green_kubo(ar1(0.8, 2.0, (800, 8), np.random.default_rng(seed)), until=20 * DT, **SPAN)
        found.append((float(result.kappa[-1]), float(result.kappa_error[-1])))
    values = np.array(found)[:, 0]
    assert abs(values.mean() - exact) < 3 * values.std() / 60**0.5
    assert values.std() < 0.1 * exact  # a factor 2 would be seen
    assert 0.75 < (z_scores(found, exact) ** 2).mean() ** 0.5 < 1.5  # Student's t of 7: 1.18


def test_two_components_of_known_coefficients():
    h, lags = 1.7, 15
    heat, current = (UNIT * integral(*process, lags)[-1] for process in ((0.8, 2.0), (0.6, 0.9)))
    exact = {"kappa": heat + h**2 * current, "corrected": heat, "enthalpy": h}
    found = {name: [] for name in exact}
    for seed in range(60):
        fluxes, currents = two_components(np.random.default_rng(seed), (500, 8), h)
        result = green_kubo(fluxes, until=lags * DT, currents=currents, **SPAN)
        for name in exact:
            found[name].append(
                (float(getattr(result, name)[-1]), float(getattr(result, name + "_error")[-1]))
            )
        assert float(result.coefficients[-1, 1, 1]) == pytest.approx(current, rel=0.4)
    for name, value in exact.items():
        values = np.array(found[name])[:, 0]
        assert abs(values.mean() - value) < 3 * values.std() / 60**0.5, name
        assert 0.75 < (z_scores(found[name], value) ** 2).mean() ** 0.5 < 1.5, name
    assert exact["kappa"] > 1.2 * exact["corrected"]  # what the tests above tell apart


def of_spectrum(log_S: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Gaussian series (T, B, 3) of this power spectrum at the frequencies of rfft, periodic in T."""
    f = np.fft.rfft(rng.standard_normal((*shape, 3)), axis=0)
    return np.fft.irfft(f * np.exp(log_S / 2)[:, None, None], shape[0], axis=0)


def cepstral_runs(seeds: int, series, **settings) -> np.ndarray:
    """(value, error) of runs from series(rng), (seeds, 2)."""
    results = [cepstral(series(np.random.default_rng(seed)), **SPAN, **settings) for seed in range(seeds)]
    return np.array([(result.value, result.error) for result in results])


def test_cepstral_of_white_noise():
    """Flat spectrum, kappa = sigma^2 DT/2."""
    exact = UNIT * DT / 2 * 1.5**2
    found = cepstral_runs(100, lambda rng: 1.5 * rng.standard_normal((1000, 2, 3)), cutoff=0.5 / DT)
    values, errors = found.T
    assert abs(values.mean() - exact) < 3 * values.std() / 10
    assert errors.min() > exact * (2 * polygamma(1, 6) / 1000) ** 0.5  # of a single coefficient
    assert values.std() < 0.07 * exact
    assert 0.5 < (z_scores(found, exact) ** 2).mean() ** 0.5 < 1.3


@pytest.mark.parametrize("cutoff", [0.5, 0.3])
def test_cepstral_of_three_coefficients(cutoff):
    """log S = C_0 + 2 C_1 cos w + 2 C_2 cos 2w: no bias, and errors that are right, below any cutoff."""
    T = 2000
    w = 2 * np.pi * np.fft.rfftfreq(T)
    log_S = 0.7 + 1.2 * np.cos(w) + 0.8 * np.cos(2 * w)
    exact = UNIT * DT / 2 * np.exp(log_S[0])
    found = cepstral_runs(100, lambda rng: of_spectrum(log_S, (T, 2), rng), cutoff=cutoff / DT)
    values = found[:, 0]
    assert abs(values.mean() - exact) < 3 * values.std() / 10
    assert values.std() < 0.1 * exact
    assert 0.7 < (z_scores(found, exact) ** 2).mean() ** 0.5 < 1.3


def test_cepstral_of_an_ornstein_uhlenbeck_flux():
    """Its coefficients phi^n/n never end: those left out make kappa too small, by 6 % in short runs."""
    exact = UNIT * integral(0.8, 2.0, 200)[-1]
    assert exact == pytest.approx(UNIT * DT / 2 * 4.0 * 1.8 / 0.2, rel=1e-12)
    for T, bias in ((3000, 0.1), (20_000, 0.04)):
        found = cepstral_runs(60, lambda rng, T=T: ar1(0.8, 2.0, (T, 1), rng), cutoff=0.5 / DT)
        assert -bias < found[:, 0].mean() / exact - 1 < 0.02
        assert (z_scores(found, exact) ** 2).mean() ** 0.5 < 1.7


def test_cepstral_of_two_components():
    """Degrees of freedom are those that the mass current leaves: none lost, kappa would be 9 % lower."""
    T, h = 2000, 5.0
    log_S = 1.2 * np.cos(2 * np.pi * np.fft.rfftfreq(T))
    exact, found = UNIT * DT / 2 * np.exp(1.2), []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        currents = of_spectrum(0.3 * log_S, (T, 2), rng)
        fluxes = of_spectrum(log_S, (T, 2), rng) + h * currents
        result = cepstral(fluxes, cutoff=0.5 / DT, currents=currents, **SPAN)
        found.append((result.value, result.error))
    values = np.array(found)[:, 0]
    assert abs(values.mean() - exact) < 3 * values.std() / 10 < 0.04 * exact
    assert 0.7 < (z_scores(found, exact) ** 2).mean() ** 0.5 < 1.3
    assert cepstral(fluxes, cutoff=0.5 / DT, **SPAN).value > 1.5 * exact  # without the mass current


def test_cepstral_agrees_with_sportran():
    """SporTran 1.0.0rc4 on these series: 4.6787 +- 0.1347 of 11 coefficients, 4.6976 +- 0.1886 of 13, at the
    one order of the smallest criterion; averaged orders differ by less than a tenth of the error.
    """
    rng = np.random.default_rng(3)
    fluxes, currents = two_components(rng, (20_000, 1))
    single = cepstral(ar1(0.8, 2.0, (20_000, 1), rng), cutoff=0.5 / DT, **SPAN)
    assert (single.order, single.value) == (11, pytest.approx(4.67872, abs=0.013))
    assert single.error == pytest.approx(0.13474, rel=0.1)
    double = cepstral(fluxes, cutoff=0.5 / DT, currents=currents, **SPAN)
    assert (double.order, double.value) == (13, pytest.approx(4.69761, abs=0.019))
    assert double.error == pytest.approx(0.18863, rel=0.1)


def test_smooth_spectrum_is_that_of_the_process():
    x = ar1(0.8, 2.0, (20_000, 2), np.random.default_rng(5))
    found = cepstral(x, cutoff=0.5 / DT, **SPAN)
    frequency, spectrum, smooth = (a.numpy() for a in (found.frequency, found.spectrum, found.smooth))
    np.testing.assert_allclose(frequency, np.arange(1, 10_001) / (20_000 * DT), rtol=1e-12)
    exact = UNIT * DT / 2 * 4.0 * (1 - 0.8**2) / abs(1 - 0.8 * np.exp(-2j * np.pi * DT * frequency)) ** 2
    assert np.abs(np.log(smooth / exact)).max() < 0.15
    assert (spectrum / exact).mean() == pytest.approx(1, abs=4 / (6 * 10_000) ** 0.5)
    assert np.log(spectrum / exact).std() == pytest.approx(polygamma(1, 6) ** 0.5, rel=0.05)
    assert 10 < found.order < 60


# ---- what is refused -----------------------------------------------------------------------------------


def test_wrong_series_are_refused():
    x = np.random.default_rng(6).standard_normal((100, 2, 3))
    broken = x.copy()
    broken[17, 1, 0] = np.nan
    for function, last in ((green_kubo, {"until": 5 * DT}), (cepstral, {"cutoff": 0.5 / DT})):
        with pytest.raises(ValueError, match=r"fluxes of shape \(100, 2\); give \(T, B, 3\)"):
            function(x[..., 0], **SPAN, **last)
        with pytest.raises(ValueError, match=r"fluxes of replica 1 at sample 17 are \[nan, .* not finite"):
            function(broken, **SPAN, **last)
        with pytest.raises(ValueError, match=r"currents of replica 1 at sample 17 .* not finite"):
            function(x, currents=broken, **SPAN, **last)
        with pytest.raises(ValueError, match=r"currents \(99, 2, 3\) do not fit fluxes \(100, 2, 3\)"):
            function(x, currents=x[1:], **SPAN, **last)
        with pytest.raises(ValueError, match="the mass current of a replica vanishes"):
            function(x, currents=0 * x, **SPAN, **last)
        with pytest.raises(ValueError, match="temperature -3.0: give a positive number"):
            function(x, **SPAN | {"temperature": -3.0}, **last)
    with pytest.raises(ValueError, match="until nan"):
        green_kubo(x, until=np.nan, **SPAN)


def test_short_series_are_refused():
    x = np.random.default_rng(7).standard_normal((100, 2, 3))
    green_kubo(x, until=50 * DT, **SPAN)
    for B, lags in ((2, 51), (1, 11), (2, 0.3)):
        with pytest.raises(ValueError, match=rf"100 samples of {B} replicas"):
            green_kubo(x[:, :B], until=lags * DT, **SPAN)
    with pytest.raises(
        ValueError, match="60 frequencies up to 2 in 100 samples .* the cutoff is at most 1.667"
    ):
        cepstral(x, cutoff=2.0, **SPAN)
    with pytest.raises(ValueError, match="10 frequencies up to 1.667 .* give a longer run"):
        cepstral(x[:20], cutoff=0.5 / DT, **SPAN)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_series_of_a_gpu_are_taken():
    x = torch.as_tensor(ar1(0.8, 2.0, (500, 8), np.random.default_rng(8)))
    assert torch.equal(
        green_kubo(x.cuda(), until=9 * DT, **SPAN).kappa, green_kubo(x, until=9 * DT, **SPAN).kappa
    )


def test_mass_current_sums_the_velocities_of_a_species():
    structures = mb.Structures.from_ase(
        mb.structures.Atoms("AgSeAg", 3 * np.eye(3), cell=9 * np.eye(3), pbc=True)
    )
    v = torch.arange(9.0, dtype=torch.float64).view(1, 3, 3)
    assert mb.heat.mass_current(v, structures, "Ag").tolist() == [[6.0, 8.0, 10.0]]
    assert mb.heat.mass_current(v, structures, "Se").tolist() == [[3.0, 4.0, 5.0]]
    with pytest.raises(ValueError, match=r"symbol \'Na\': give one of these atoms\' \(Ag, Se\)"):
        mb.heat.mass_current(v, structures, "Na")
