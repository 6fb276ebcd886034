"""A structure that Python hands to C has the fields of its header: names, order and kinds are the same."""

import ctypes
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stages.formats import decoding, examples
from stages.words import compiled_words

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "double": ctypes.c_double}
# Numpy makes the arrays of these.
ROWS = {"Instance", "Shape", "Triple", "TypeWeights"}


def declared(header: Path) -> dict[str, list[tuple[str, Any]]]:
    """The structures of a header by name, but those of which Python makes arrays: each field and its ctypes kind."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    found: dict[str, list[tuple[str, Any]]] = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", text, re.DOTALL):
        for kind, fields in re.findall(r"(?:const )?(\w+) ([^;]+);", body if name not in ROWS else ""):
            for field in fields.split(", "):
                one = (field.lstrip("*"), ctypes.c_void_p if field.startswith("*") else NUMBERS[kind])
                found.setdefault(name, []).append(one)
    return found


@pytest.mark.parametrize(
    ("module", "header"),
    [(examples, "formats/examples.h"), (decoding, "formats/encoding.h"), (compiled_words, "words/words.h")],
)
def test_a_structure_has_the_fields_of_its_header(module: ModuleType, header: str) -> None:
    classes = [value for name, value in vars(module).items() if re.fullmatch("C[A-Z][a-z]+", name)]
    made = {kind.__name__[1:]: kind._fields_ for kind in classes if issubclass(kind, ctypes.Structure)}
    assert made == declared(ROOT / "stages" / header)
