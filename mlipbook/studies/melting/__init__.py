"""Melting on heating, freezing on cooling (Fig. 1, chapter 7)."""
