"""A stage's C source → its shared library, beside it: where it lies, how it is loaded, how it is compiled.

The loops over integer arrays are C, called through ctypes. Measured before that was decided, on one core, for the
words of a text (49 M characters/s is what a corpus shard then took from strings to word starts):

- C: 91 M characters/s from code points, a library of 11 kB, loaded in 0.3 ms, nothing to install where it runs;
- the same loop in numba: 49 M, 290 MB in every image, 0.8 s to import and 1.5 s to compile or a cache to keep;
- in Cython: 39 M, a library of 226 kB for one version of Python, from 1.1 MB of generated C.

A pinned compiler (the `ziglang` wheel) makes the libraries when an image or an environment is built, and stays in none.

`python -m stages.compiled` compiles every `stages/*/*.c` that is not; with --check it only says, by its exit code,
whether there are such.
"""

import ctypes
import functools
import glob
import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

from stages.command.refusal import Refusal
from stages.handover.storage import PARTIAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

# For every processor of the platform, not the one that compiles: images move between machines.
COMPILER = [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]
FLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror", "-fPIC", "-fvisibility=hidden", "-shared", "-s"]


class NotCompiled(Refusal, ImportError):
    """The library of a source is not there."""


def library_path(source: str) -> str:
    """Where the library of a C source lies. The name holds the hash of the source and of the headers beside it.

    A library of other code is never loaded.
    """
    digest = hashlib.sha256()
    for path in (source, *sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(source)), "*.h")))):
        with open(path, "rb") as stream:
            digest.update(stream.read())
    return f"{os.path.splitext(source)[0]}-{digest.hexdigest()[:16]}.so"


@functools.cache
def library(source: str) -> ctypes.CDLL:
    """The compiled library of a C source. Raises NotCompiled, which says what to do."""
    try:
        return ctypes.CDLL(library_path(source))
    except OSError as error:
        raise NotCompiled(f"{source} is not compiled for this machine ({error}); make venv compiles it")


def at(array: "NDArray[Any]", kind: type) -> int:
    """The address of an array for C, which the caller keeps alive. TypeError for one of another kind or layout."""
    if array.dtype != kind or not array.flags.c_contiguous:
        raise TypeError(f"an array of {array.dtype} is given where C expects {kind.__name__} without gaps")
    address: int = array.__array_interface__["data"][0]
    return address


def structure(name: str, addresses: str, sizes: str = "", **others: Any) -> type[ctypes.Structure]:
    """The class of a structure of C, by the names of its fields in order: addresses, integers of 64 bits, others."""
    fields: dict[str, Any] = dict.fromkeys(addresses.split(), ctypes.c_void_p)
    fields.update(dict.fromkeys(sizes.split(), ctypes.c_int64), **others)
    return type(name, (ctypes.Structure,), {"_fields_": [*fields.items()]})


def compile_source(source: str, cache: str) -> None:
    """Make the library of a C source, unless it is there, and remove those of older code. `cache`: a folder."""
    import subprocess  # 10 ms, which no stage need take

    caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    path = library_path(source)
    if not os.path.exists(path):
        temporary = path + PARTIAL
        subprocess.run([*COMPILER, *FLAGS, "-o", temporary, source], check=True, env={**os.environ, **caches})
        os.replace(temporary, path)
    for other in glob.glob(glob.escape(os.path.splitext(source)[0]) + "-*.so"):
        if other != path:
            os.remove(other)


if __name__ == "__main__":
    sources = sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(os.path.abspath(__file__))), "*", "*.c")))
    if sys.argv[1:] == ["--check"]:
        sys.exit(not all(os.path.exists(library_path(source)) for source in sources))
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            compile_source(source, folder)
