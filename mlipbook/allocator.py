"""The one setting of the process that mlipbook changes: how the C library keeps freed memory."""

import ctypes
import os
import sys
from functools import cache


@cache
def keep_freed_memory() -> None:
    """Let glibc keep freed blocks: fresh pages for every temporary tensor cost a third of the time.

    Called once, before the first neighbor list or plane-wave calculation, never by an import. The process
    then holds on to the largest memory that it ever used. Where that is not wanted, the environment variable
    ``MLIPBOOK_ALLOCATOR=off`` leaves the C library as it is. Other C libraries than glibc are never touched.
    """
    if os.environ.get("MLIPBOOK_ALLOCATOR") == "off" or sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # another C library
        return
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
