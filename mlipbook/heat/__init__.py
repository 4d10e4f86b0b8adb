"""Heat transport: the flux of a potential, and its thermal conductivity in and out of equilibrium."""

from mlipbook.heat.flux import convective_flux, flux

__all__ = ["convective_flux", "flux"]
