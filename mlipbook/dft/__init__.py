"""Plane-wave density functional theory in PyTorch, in Hartree atomic units inside."""
