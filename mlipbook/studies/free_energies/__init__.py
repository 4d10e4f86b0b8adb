"""Terms and sizes of free energies (chapter 8)."""
