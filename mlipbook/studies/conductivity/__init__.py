"""Thermal conductivity of alpha-Ag2Se (Fig. 3, chapter 11)."""
