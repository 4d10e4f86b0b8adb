"""What values consist of, kind by kind: a name of the kind, and bytes or parts (see `archive.identity`)."""

import dis
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cached_property, partial, singledispatch
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from torch import Tensor, nn

OURS = "mlipbook"
METHODS = (FunctionType, property, cached_property, staticmethod, classmethod)
OF_MODULES, OF_CALCULATORS = {*vars(nn.Module())}, {*vars(Calculator()), "directory"}  # no one's own


class Pairs(list[tuple[Any, Any]]):
    """Names and values in any order."""


Content = bytes | list[Any] | Pairs


@singledispatch
def content_of(value: Any) -> tuple[str, Content]:
    """An object: its class, and the fields of a dataclass or what pickle would take."""
    if is_dataclass(value):
        own = Pairs((f.name, getattr(value, f.name)) for f in fields(value))
        return "object", Pairs([("class", type(value)), *own])
    made = value.__reduce_ex__(4)
    if isinstance(made, str):  # the name of a global
        return "global", f"{_package(type(value).__module__)}.{made}".encode()
    maker, arguments, state, items, pairs = (*made, None, None, None)[:5]
    inside = {"made by": maker, "of": arguments, "state": state, "items": [*(items or ())]}
    return "object", Pairs([*inside.items(), ("pairs", dict(pairs or ()))])


@content_of.register
def _(value: None | bool | int | str | bytes | complex) -> tuple[str, Content]:
    return "value", repr(value).encode()


@content_of.register(np.bool_ | np.integer)
def _(value: Any) -> tuple[str, Content]:
    return content_of(value.item())


@content_of.register(float | np.float64)
def _(value: float) -> tuple[str, Content]:
    return "float", float(value).hex().encode()


@content_of.register(torch.dtype | np.dtype | PurePath)
def _(value: Any) -> tuple[str, Content]:
    return "name", str(value).encode()


@content_of.register
def _(value: torch.device) -> tuple[str, Content]:
    return "device", b""  # results do not depend on it


@content_of.register
def _(value: list | tuple) -> tuple[str, Content]:
    return "sequence", list(value)


@content_of.register
def _(value: Mapping) -> tuple[str, Content]:
    return "mapping", Pairs(value.items())


@content_of.register
def _(value: set | frozenset) -> tuple[str, Content]:
    return "set", Pairs((x, None) for x in value)


@content_of.register
def _(value: np.ndarray | np.generic) -> tuple[str, Content]:
    array = np.asarray(value)
    if array.dtype.hasobject:
        return "array", [array.shape, array.ravel().tolist()]
    plain = array.astype(array.dtype.newbyteorder("<"))
    return f"array {plain.dtype.descr} {array.shape}", plain.tobytes()


@content_of.register
def _(value: Tensor) -> tuple[str, Content]:
    flat = value.detach().cpu().resolve_conj().contiguous().reshape(-1).view(torch.uint8)
    return f"tensor {value.dtype} {tuple(value.shape)}", flat.numpy().tobytes()


@content_of.register
def _(value: nn.Module) -> tuple[str, Content]:
    """Its tensors, its modules and its settings; hooks and the mode of training are none."""
    if isinstance(value, torch.jit.ScriptModule):
        raise TypeError("it is compiled")
    parts = (settings_of(value), value._parameters, value._buffers, value._modules)  # each name once
    return "module", Pairs([("class", type(value)), *(pair for part in parts for pair in part.items())])


def settings_of(module: nn.Module) -> dict[str, Any]:
    """What a module has beside its tensors and modules."""
    return {name: x for name, x in vars(module).items() if name not in OF_MODULES}


@content_of.register
def _(value: Atoms) -> tuple[str, Content]:
    own = {"arrays": value.arrays, "cell": value.cell.array, "pbc": value.pbc, "info": value.info}
    more = {"constraints": value.constraints, "celldisp": value.get_celldisp(), "calc": value.calc}
    return "atoms", Pairs([*own.items(), *more.items()])


@content_of.register
def _(value: BaseCalculator) -> tuple[str, Content]:
    """Class, parameters and attributes. Those of ASE that declare parameters keep the rest for themselves."""
    kind, parameters = type(value), dict(value.parameters or {})
    declared = kind.__module__.startswith("ase.") and getattr(kind, "default_parameters", None)
    own = {} if declared else {k: x for k, x in vars(value).items() if k not in OF_CALCULATORS}
    return "calculator", Pairs([("class", kind), ("parameters", parameters), *own.items()])


@content_of.register
def _(value: SinglePointCalculator) -> tuple[str, Content]:
    return "labels", [value.results]


# ---- functions and classes ---------------------------------------------------------------------------


def _package(module: str) -> str:
    """The package that a module lies in; a script that was started with -m is one of its modules."""
    started = getattr(sys.modules.get(module), "__spec__", None) if module == "__main__" else None
    return (started.name if started else module).partition(".")[0]


def _installed(module: str) -> bool:
    package = _package(module)
    file = getattr(sys.modules.get(module), "__file__", None)
    if package == OURS or package in sys.builtin_module_names:
        return True
    places = {"site-packages", "dist-packages"} & {*Path(file or "").parts}
    return bool(places) or (file or "").startswith(sysconfig.get_path("stdlib"))


@content_of.register
def _(value: ModuleType) -> tuple[str, Content]:
    return "package", _package(value.__name__).encode()


@content_of.register
def _(value: BuiltinFunctionType) -> tuple[str, Content]:
    return "function", [
        value.__qualname__,
        None if isinstance(value.__self__, ModuleType) else value.__self__,
    ]


@content_of.register
def _(value: MethodType) -> tuple[str, Content]:
    return "method", [value.__func__, value.__self__]


@content_of.register
def _(value: partial) -> tuple[str, Content]:
    return "partial", [value.func, value.args, value.keywords]


@content_of.register(property)
def _(value: property) -> tuple[str, Content]:
    return "property", [value.fget, value.fset]


@content_of.register(staticmethod | classmethod)
def _(value: Any) -> tuple[str, Content]:
    return "property", [value.__func__]


@content_of.register
def _(value: cached_property) -> tuple[str, Content]:
    return "property", [value.func]


@content_of.register
def _(value: MemberDescriptorType) -> tuple[str, Content]:
    return "slot", value.__name__.encode()


@content_of.register
def _(value: type) -> tuple[str, Content]:
    if _installed(value.__module__):
        return "class", f"{_package(value.__module__)}.{value.__qualname__}".encode()
    own = {k: x for k, x in vars(value).items() if isinstance(x, METHODS) or not k.startswith("_")}
    return "class", [value.__qualname__, value.__bases__, own]


@content_of.register
def _(value: FunctionType) -> tuple[str, Content]:
    named = "<lambda>" not in value.__qualname__
    module = value.__module__ or ""
    closed = dict(zip(value.__code__.co_freevars, _cells(value), strict=True))
    if _installed(module) and named:
        return "function", [f"{_package(module)}.{value.__qualname__}", closed]
    known = {name: value.__globals__[name] for name in _globals(value.__code__) if name in value.__globals__}
    texts = value.__code__.co_consts
    code = value.__code__.replace(co_consts=tuple(None if text == value.__doc__ else text for text in texts))
    return "function", [value.__qualname__, code, closed, known, value.__defaults__, value.__kwdefaults__]


def _cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not set yet
            yield cell.cell_contents
            continue
        yield None


@content_of.register
def _(value: CodeType) -> tuple[str, Content]:
    return "code", [value.co_code, value.co_consts, value.co_names]


def _globals(code: CodeType) -> Iterable[str]:
    """The globals that a function reads."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals(inner)
