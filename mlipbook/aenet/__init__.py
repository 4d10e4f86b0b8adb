"""Potentials of aenet in, potentials for aenet out (see `potentials`)."""

from mlipbook.aenet.files import Setup, read_setup, read_xsf, write_setup, write_xsf
from mlipbook.aenet.network import NetworkFile, read_network, write_network
from mlipbook.aenet.potentials import descriptor, read, write

__all__ = ["NetworkFile", "Setup", "descriptor", "read", "read_network", "read_setup", "read_xsf", "write"]
__all__ += ["write_network", "write_setup", "write_xsf"]
