"""Takes a database's files out of the page cache, and makes sure that they left it.

By posix_fadvise on these files alone: it needs no rights, leaves others on the machine in peace, and keeps the engine's own program warm,
whose loading is not the question.
"""

import ctypes
import mmap
import os

import numpy as np

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]


def evict(folder, base):
    """`base`: first letters of the names of the database's files and directories in `folder`."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0].startswith(base)]
    os.sync()  # dirty pages do not leave
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    left, total = sum(map(resident, files)), sum(path.stat().st_size for path in files)
    if left * mmap.PAGESIZE > total // 100:
        raise RuntimeError(f"{left} pages of {base} did not leave the page cache, of {total} bytes")


def resident(path):
    """Pages of the file in memory."""
    if path.stat().st_size == 0:
        return 0
    mapped = np.memmap(path, "u1", "r")
    pages = np.zeros(-(-len(mapped) // mmap.PAGESIZE), "u1")
    if LIBC.mincore(mapped.ctypes.data, len(mapped), pages.ctypes.data) != 0:
        raise OSError(ctypes.get_errno(), "mincore", str(path))
    return int((pages & 1).sum())
