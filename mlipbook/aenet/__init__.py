"""Potentials of aenet in, potentials for aenet out (see `potentials`)."""

from mlipbook.aenet.potentials import (
    NetworkFile,
    Setup,
    descriptor,
    read,
    read_network,
    read_setup,
    read_xsf,
    write,
    write_network,
    write_setup,
    write_xsf,
)

__all__ = [
    "NetworkFile",
    "Setup",
    "descriptor",
    "read",
    "read_network",
    "read_setup",
    "read_xsf",
    "write",
    "write_network",
    "write_setup",
    "write_xsf",
]
