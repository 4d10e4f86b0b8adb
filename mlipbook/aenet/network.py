"""Binary networks of aenet (.nn): layout, what a sound file fulfills, reading, and writing byte for byte.

A Fortran sequential file of 36 records, little-endian, each between two 4-byte lengths; reading and writing
both follow from the fields of `NetworkFile`. Of the descriptors only Chebyshev's are supported.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from mlipbook.aenet.files import FilePath, Setup
from mlipbook.archive import replacing

ACTIVATIONS = ("linear", "tanh", "sigmoid", "mtanh", "twist")  # in the order of aenet's codes


def record(kind: str, *shape: Any) -> Any:
    """A field of this type (cN: N characters). shape: numbers, names of records that hold them, or functions
    of the records before; none for a single value.
    """
    return field(metadata={"kind": kind, "shape": shape})


@dataclass(frozen=True, eq=False)
class NetworkFile:
    """Contents of a binary .nn file, all 36 records in their order. Energies eV, lengths angstrom.

    weights: for each layer the matrix (n_out, n_in + 1), bias in the last column, column by column.
    feature_mean, feature_mean_square: over the atoms of this element in the training set.
    """

    n_layers: int = record("i4")
    n_nodes_max: int = record("i4")
    n_weights: int = record("i4")
    n_values: int = record("i4")
    n_nodes: np.ndarray = record("i4", "n_layers")  # input and output included
    activations: np.ndarray = record("i4", lambda v: v["n_layers"] - 1)  # codes: index into ACTIVATIONS
    weight_offsets: np.ndarray = record("i4", "n_layers")
    value_offsets: np.ndarray = record("i4", "n_layers")
    weights: np.ndarray = record("f8", "n_weights")
    description: str = record("c1024")  # lines joined by $$
    element: str = record("c2")
    n_environment: int = record("i4")
    environment: tuple[str, ...] = record("c2", "n_environment")
    r_min: float = record("f8")
    r_max: float = record("f8")
    descriptor: str = record("c100")
    n_features: int = record("i4")
    n_parameters: int = record("i4")
    feature_kinds: np.ndarray = record("i4", "n_features")  # zeros
    feature_parameters: np.ndarray = record("f8", 4, "n_features")  # first column: Rr, Nr, Ra, Na
    feature_environments: np.ndarray = record("i4", 2, "n_features")  # zeros
    n_evaluated: int = record("i4")  # atoms of this element in the training set
    feature_min: np.ndarray = record("f8", "n_features")  # minimum and maximum are not used
    feature_max: np.ndarray = record("f8", "n_features")
    feature_mean: np.ndarray = record("f8", "n_features")
    feature_mean_square: np.ndarray = record("f8", "n_features")
    training_set: str = record("c1024")
    normalized: int = record("i4")
    energy_scale: float = record("f8")
    energy_shift: float = record("f8")
    n_types: int = record("i4")
    types: tuple[str, ...] = record("c2", "n_types")
    atomic_energies: np.ndarray = record("f8", "n_types")  # E_atom
    n_atoms: int = record("i4")  # in the training set
    n_structures: int = record("i4")
    energy_range: np.ndarray = record("f8", 3)  # normalized minimum, maximum, mean

    @property
    def setup(self) -> Setup:
        radial_cutoff, radial_order, angular_cutoff, angular_order = self.feature_parameters[:, 0].tolist()
        radial, angular = (radial_cutoff, int(radial_order)), (angular_cutoff, int(angular_order))
        description = self.description.replace("$$", "\n").rstrip("\n")
        return Setup(self.element, self.environment, description, self.r_min, *radial, *angular)

    @property
    def matrices(self) -> list[np.ndarray]:
        """Weights of each layer, (n_out, n_in + 1), dimensionless, bias in the last column."""
        shapes = zip(self.n_nodes[1:], self.n_nodes[:-1] + 1, strict=True)
        blocks = np.split(self.weights, self.weight_offsets[1:-1])
        return [block.reshape(shape, order="F") for block, shape in zip(blocks, shapes, strict=True)]


RECORDS = [(each.name, each.metadata["kind"], each.metadata["shape"]) for each in fields(NetworkFile)]


def sizes_of(n_nodes: np.ndarray) -> dict[str, Any]:
    """The records that follow from the numbers of nodes: offsets are sums over the layers before."""
    n = n_nodes.astype(np.int64)
    weights, values = np.cumsum([0, *n[1:] * (n[:-1] + 1)]), np.cumsum([0, *n[:-1] + 1])
    counts = {
        "n_layers": len(n),
        "n_nodes_max": n.max(),
        "n_weights": weights[-1],
        "n_values": values[-1] + n[-1],
    }
    return {**counts, "weight_offsets": weights, "value_offsets": values}


def _sizes_agree(n_nodes: np.ndarray, v: dict[str, Any]) -> bool:
    expected = sizes_of(n_nodes)
    agree = all(v[name] == expected[name] for name in ("n_nodes_max", "n_weights", "n_values"))
    return agree and n_nodes.min() > 0 and n_nodes[-1] == 1


def _orders_fit(parameters: np.ndarray, v: dict[str, Any]) -> bool:
    radial_cutoff, radial_order, angular_cutoff, angular_order = parameters[:, 0]
    features = (radial_order + angular_order + 2) * (1 if v["n_environment"] == 1 else 2)
    positive = min(radial_cutoff, angular_cutoff) > 0 and min(radial_order, angular_order) >= 0
    return positive and features == v["n_features"]


def _offsets(name: str) -> Callable[[np.ndarray, dict[str, Any]], bool]:
    return lambda found, v: np.array_equal(found, sizes_of(v["n_nodes"])[name])


def _known(symbols: tuple[str, ...], v: dict[str, Any]) -> bool:
    return len(set(symbols)) == len(symbols) and all(s in atomic_numbers for s in symbols)


SIZES = "positive sizes, the last 1, that agree with n_nodes_max, n_weights, n_values"
CODES = "codes 0 to 4 (linear, tanh, sigmoid, mtanh, twist), 0 for the output"
PARAMETERS = "cutoffs > 0 and orders that give n_features in the first column"
OWN = "different chemical symbols, the element's among them"
# What must hold of a record and those before it, and how to say it.
CHECKS: dict[str, tuple[Callable[[Any, dict[str, Any]], Any], str]] = {
    "n_layers": (lambda x, v: 2 <= x <= 100, "2 to 100 layers"),
    "n_weights": (lambda x, v: 0 < x < 2**27, "a positive number of weights"),
    "n_nodes": (_sizes_agree, SIZES),
    "activations": (lambda x, v: {*x} <= {*range(5)} and x[-1] == 0, CODES),
    "weight_offsets": (_offsets("weight_offsets"), "0 and the sums of n_out (n_in + 1)"),
    "value_offsets": (_offsets("value_offsets"), "0 and the sums of n + 1"),
    "element": (lambda x, v: x in atomic_numbers, "a chemical symbol"),
    "n_environment": (lambda x, v: 1 <= x <= 118, "1 to 118 species"),
    "environment": (_known, "different chemical symbols"),
    "r_min": (lambda x, v: x > 0, "a positive distance"),
    "descriptor": (lambda x, v: x == "Chebyshev", "'Chebyshev', the one descriptor supported"),
    "n_features": (lambda x, v: x == v["n_nodes"][0], "as many features as input nodes"),
    "n_parameters": (lambda x, v: x == 4, "4"),
    "feature_parameters": (_orders_fit, PARAMETERS),
    "normalized": (lambda x, v: x != 0, "normalized energies (1)"),
    "energy_scale": (lambda x, v: x != 0, "a scale other than 0"),
    "n_types": (lambda x, v: 1 <= x <= 118, "1 to 118 species"),
    "types": (lambda x, v: _known(x, v) and v["element"] in x, OWN),
}


def read_network(path: FilePath) -> NetworkFile:
    """Read a binary .nn file of aenet. Raises ValueError naming the file, the record and what was expected
    for anything else or damaged.
    """
    data, offset = Path(path).read_bytes(), 0
    values: dict[str, Any] = {}
    _refuse_other_formats(path, data)
    for number, (name, kind, shape) in enumerate(RECORDS, 1):
        where = f"{path}: record {number} ({name})"
        sizes = [n(values) if callable(n) else values.get(n, n) for n in shape]
        length = int(kind[1:]) * int(np.prod(sizes))
        value = _unpack(_content(data, offset, length, where), kind, sizes)
        if kind == "f8" and not np.isfinite(value).all():
            raise ValueError(f"{where}: holds NaN or infinite numbers; write the file again with aenet")
        holds, expected = CHECKS.get(name, (lambda x, v: True, ""))
        if not holds(value, values):
            raise ValueError(f"{where}: expected {expected}, found {value!r:.200}")
        values[name] = value
        offset += length + 8
    if offset != len(data):
        raise ValueError(f"{path}: {len(data) - offset} bytes follow record 36, the last one; expected none")
    return NetworkFile(**values)


def write_network(path: FilePath, network: NetworkFile) -> None:
    """Write a binary .nn file; a file that was read comes out byte for byte. Raises ValueError for texts that
    are longer than their records.
    """
    with replacing(path) as file:
        for name, kind, _ in RECORDS:
            raw = _pack(getattr(network, name), kind, name)
            length = struct.pack("<i", len(raw))
            file.write(length + raw + length)


def _refuse_other_formats(path: FilePath, data: bytes) -> None:
    if b"\x04\0\0\0".startswith(data[:4]):
        return
    if data[:4] == b"\0\0\0\x04":
        why = "big-endian numbers; write it on a little-endian machine"
    elif data and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data[:200]):
        why = "text; if it is a .nn.ascii file, take the binary .nn file from which it was converted"
    else:
        why = "no Fortran record of 4 bytes"
    raise ValueError(f"{path}: record 1 (n_layers): the file begins with {why}; expected a binary .nn file")


def _content(data: bytes, offset: int, size: int, where: str) -> bytes:
    end = offset + size + 8
    for place in (offset, end - 4):
        if place + 4 > len(data):
            why = f"the file ends at byte {len(data)}: it is truncated"
        elif (length := struct.unpack_from("<i", data, place)[0]) != size:
            why = f"the length at byte {place} says {length}: the file is damaged or of another format"
        else:
            continue
        raise ValueError(f"{where}: expected {size} bytes, but {why}; copy it again")
    return data[offset + 4 : end - 4]


def _unpack(raw: bytes, kind: str, shape: list[int]) -> Any:
    if kind[0] == "c":
        width = int(kind[1:])
        words = tuple(raw[i : i + width].decode("latin-1").rstrip(" ") for i in range(0, len(raw), width))
        return words if shape else words[0]
    array = np.frombuffer(raw, "<" + kind).reshape(shape, order="F").copy()
    return array if shape else array.item()


def _pack(value: Any, kind: str, name: str) -> bytes:
    if kind[0] != "c":
        return np.asarray(value, "<" + kind).tobytes(order="F")
    width = int(kind[1:])
    words = [word.encode("latin-1") for word in ([value] if isinstance(value, str) else value)]
    for word in words:
        if len(word) > width:
            raise ValueError(f"{name}: {word[:60]!r} has {len(word)} characters, aenet has room for {width}")
    return b"".join(word.ljust(width) for word in words)
