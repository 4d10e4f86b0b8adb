"""A pretended accelerator, for tests of what runs on a GPU where there is none (PyTorch >= 2.10).

Importing this registers the device "pretend" with PyTorch, for the whole process: test_accelerator.py does so
in one of its own. Its tensors hold their numbers on the CPU and compute there, but

- they refuse to be mixed with the host's, as CUDA's do (numbers without dimensions, and indices, may be), and
  to become NumPy arrays;
- whatever the host must know of their values (a number, how many are true, whether a matrix was singular) is
  counted in `reads` with its place in mlipbook: there a GPU waits for the host, and the host for the GPU.

It cannot show what CUDA computes, how fast, or in which order; CUDA graphs are not pretended.
"""

import traceback
from collections import Counter

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("pretend")
DEVICE = torch.device("pretend", 0)
READS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "unique_consecutive"}
READS |= {"unique_dim", "_linalg_check_errors", "is_nonzero"}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}
LISTS = (list, tuple, np.ndarray)
reads: Counter[tuple[str, str]] = Counter()  # by what, and where


class OnDevice(torch.Tensor):
    """A tensor without storage that says it is on the device; its numbers are in `on_cpu`."""

    @staticmethod
    def __new__(cls, data: torch.Tensor):
        layout = {"strides": data.stride(), "storage_offset": data.storage_offset()}
        return cls._make_wrapper_subclass(cls, data.size(), dtype=data.dtype, device=DEVICE, **layout)

    def __init__(self, data: torch.Tensor):
        self.on_cpu = data

    def __repr__(self):
        return f"pretend({self.on_cpu})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl

    def numpy(self, *_, **__):
        raise TypeError(f"can't convert {DEVICE} tensor to numpy, at {place()}")

    __array__ = numpy

    def __getitem__(self, index):
        """Lists and arrays as indices, beside colons, become tensors below any dispatch: here before."""
        if not isinstance(index, tuple) or not any(isinstance(x, LISTS) for x in index):
            return super().__getitem__(index)
        moved = [None if x == slice(None) else torch.tensor(x, device=DEVICE) for x in index]
        return torch.ops.aten.index.Tensor(self, moved)

    def tolist(self):
        reads["tolist", place()] += 1
        return self.on_cpu.tolist()

    @property
    def is_cuda(self):
        """What a GPU would say: the library asks to leave the device's own path to it."""
        return True


def place() -> str:
    """File and line of mlipbook that is being computed."""
    for frame in reversed(traceback.extract_stack()):
        if "/mlipbook/" in frame.filename:
            return f"{frame.filename.split('/mlipbook/')[-1]}:{frame.lineno}"
    return "a test"


def computed(function, args, kwargs):
    """An operation on tensors of the device, or one that makes them, computed on the CPU."""
    if torch.Tag.inplace_view in function.tags:  # such as squeeze_: the outer tensor's shape changes, too
        function(args[0].on_cpu, *args[1:], **kwargs)
        with torch._C._DisableTorchDispatch():
            return function(*args, **kwargs)
    name, given = function._schema.name.removeprefix("aten::"), tree_leaves((args, kwargs))
    here = {id(x.on_cpu): x for x in given if isinstance(x, OnDevice)}
    host = [x for x in given if isinstance(x, torch.Tensor) and not isinstance(x, OnDevice)]
    on_device = bool(here)
    if kwargs.get("device") is not None:
        on_device = torch.device(kwargs["device"]).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    kwargs = {**kwargs, **({"pin_memory": False} if "pin_memory" in kwargs else {})}
    if here and name in INDEXED and isinstance(args[0], OnDevice):  # indices may be the host's, values not
        host = [x for x in args[2:3] if isinstance(x, torch.Tensor) and not isinstance(x, OnDevice)]
    if here and name not in ("_to_copy", "copy_") and any(x.ndim for x in host):
        raise RuntimeError(f"tensors of {DEVICE} and of the host are mixed: {name} at {place()}")
    if here and asks(name, args, on_device):
        reads[name, place()] += 1

    def unwrapped(x):
        return x.on_cpu if isinstance(x, OnDevice) else x

    def wrapped(x):
        if not isinstance(x, torch.Tensor) or isinstance(x, OnDevice):
            return x
        known = here.get(id(x))
        if known is not None and known.shape != x.shape:
            raise NotImplementedError(f"{function} gave a tensor of the device another shape, at {place()}")
        # a conjugate that is not computed yet would be one inside only: PyTorch could not see it
        return OnDevice(x.resolve_conj().resolve_neg()) if known is None else known

    result = function(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs))
    return tree_map(wrapped, result) if on_device else result


def asks(name: str, args, on_device: bool) -> bool:
    """Whether the host has to wait for numbers: values, a copy to it, how many of a mask are true."""
    if name in INDEXED:
        return any(isinstance(x, OnDevice) and x.dtype == torch.bool for x in args[1])
    to_host = name == "_to_copy" and not on_device
    return name in READS or to_host or (name == "copy_" and not isinstance(args[0], OnDevice))


fallback = torch.library.Library("_", "IMPL")
fallback.fallback(lambda function, *args, **kwargs: computed(function, args, kwargs), "PrivateUse1")


def moved_afterwards(make):
    """torch.tensor and its like make tensors below any dispatch, torch.eye and its like an empty one that
    grows: make them on the host, then move them."""

    def made(*args, device=None, **kwargs):
        if isinstance(args[0], OnDevice):
            if make.__name__ == "as_tensor":
                return args[0].to(device=device or DEVICE, dtype=kwargs.get("dtype"))
            device, args = device or DEVICE, (args[0].on_cpu, *args[1:])
        tensor = make(*args, **kwargs)
        return tensor if device is None else tensor.to(device)

    made.__name__ = make.__name__
    return made


for name in ("tensor", "as_tensor", "eye", "arange", "linspace"):
    setattr(torch, name, moved_afterwards(getattr(torch, name)))
torch.Tensor.new_tensor = moved_afterwards(torch.Tensor.new_tensor)
torch.cuda.is_current_stream_capturing = lambda: False  # a build without CUDA raises
