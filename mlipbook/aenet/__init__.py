"""Potentials of aenet in, potentials for aenet out (see `potentials`)."""

from mlipbook.aenet.files import Setup, read_setup, read_xsf, write_setup, write_xsf
from mlipbook.aenet.network import read_network, write_network
from mlipbook.aenet.potentials import descriptor, read, write
from mlipbook.aenet.records import NetworkFile

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
