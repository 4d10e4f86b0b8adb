"""Heat transport: the flux of a potential, and its thermal conductivity in and out of equilibrium."""

from mlipbook.heat.cepstral import Cepstral, cepstral
from mlipbook.heat.drive import Booked, ColorField, DrivenNoseHoover, HeatField
from mlipbook.heat.flux import Shifted, convective_flux, flux, flux_parts, mass_current, without_enthalpy
from mlipbook.heat.green_kubo import Transport, green_kubo
from mlipbook.heat.hnemd import Response, hnemd, predicted_error

__all__ = ["Booked", "Cepstral", "ColorField", "DrivenNoseHoover", "HeatField", "Response", "Shifted"]
__all__ += ["Transport", "cepstral", "convective_flux", "flux", "flux_parts", "green_kubo", "hnemd"]
__all__ += ["mass_current", "predicted_error", "without_enthalpy"]
