"""What values consist of, kind by kind: a name of the kind, and bytes or parts (see `archive.identity`)."""

import dis
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property, partial, singledispatch
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from torch import Tensor, nn

METHODS = (types.FunctionType, property, cached_property, staticmethod, classmethod)
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


def _bound(function: types.BuiltinFunctionType) -> Any:
    """What a method of C is bound to; a function of C is bound to its module."""
    return None if isinstance(function.__self__, types.ModuleType) else function.__self__


KINDS: tuple[tuple[Any, str, Callable[[Any], Content]], ...] = (
    (None | bool | int | str | bytes | complex, "value", lambda x: repr(x).encode()),
    (np.bool_ | np.integer, "value", lambda x: repr(x.item()).encode()),
    (float | np.float64, "float", lambda x: float(x).hex().encode()),
    (torch.dtype | np.dtype | PurePath, "name", lambda x: str(x).encode()),
    (torch.device, "device", lambda x: b""),  # results do not depend on it
    (list | tuple, "sequence", list),
    (Mapping, "mapping", lambda x: Pairs(x.items())),
    (set | frozenset, "set", lambda x: Pairs((each, None) for each in x)),
    (SinglePointCalculator, "labels", lambda x: [x.results]),
    (types.ModuleType, "package", lambda x: _package(x.__name__).encode()),
    (types.BuiltinFunctionType, "function", lambda x: [x.__qualname__, _bound(x)]),
    (types.MethodType, "method", lambda x: [x.__func__, x.__self__]),
    (partial, "partial", lambda x: [x.func, x.args, x.keywords]),
    (property, "property", lambda x: [x.fget, x.fset]),
    (staticmethod | classmethod, "property", lambda x: [x.__func__]),
    (cached_property, "property", lambda x: [x.func]),
    (types.MemberDescriptorType, "slot", lambda x: x.__name__.encode()),
    (types.CodeType, "code", lambda x: [x.co_code, x.co_consts, x.co_names]),
)
for classes, kind, content in KINDS:
    content_of.register(classes, lambda value, kind=kind, content=content: (kind, content(value)))


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


# ---- functions and classes ---------------------------------------------------------------------------


def _package(module: str) -> str:
    """The package that a module lies in; a script that was started with -m is one of its modules."""
    started = getattr(sys.modules.get(module), "__spec__", None) if module == "__main__" else None
    return (started.name if started else module).partition(".")[0]


def _installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    known = _package(module) in ("mlipbook", *sys.builtin_module_names)
    installed = {"site-packages", "dist-packages"} & {*Path(file).parts}
    return known or bool(installed) or file.startswith(sysconfig.get_path("stdlib"))


@content_of.register
def _(value: type) -> tuple[str, Content]:
    if _installed(value.__module__):
        return "class", f"{_package(value.__module__)}.{value.__qualname__}".encode()
    own = {k: x for k, x in vars(value).items() if isinstance(x, METHODS) or not k.startswith("_")}
    return "class", [value.__qualname__, value.__bases__, own]


@content_of.register
def _(value: types.FunctionType) -> tuple[str, Content]:
    named = "<lambda>" not in value.__qualname__
    module = value.__module__ or ""
    closed = dict(zip(value.__code__.co_freevars, map(_inside, value.__closure__ or ()), strict=True))
    if _installed(module) and named:
        return "function", [f"{_package(module)}.{value.__qualname__}", closed]
    known = {name: value.__globals__[name] for name in _globals(value.__code__) if name in value.__globals__}
    texts = value.__code__.co_consts
    code = value.__code__.replace(co_consts=tuple(None if text == value.__doc__ else text for text in texts))
    return "function", [value.__qualname__, code, closed, known, value.__defaults__, value.__kwdefaults__]


def _inside(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _globals(code: types.CodeType) -> Iterable[str]:
    """The globals that a function reads."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _globals(inner)
