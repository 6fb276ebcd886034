"""The tokenizer's image → its size above its base and its largest parts; a line tokenized by it, start to finish.

The virtual environment, which holds the same packages, is measured as well, without a bar.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from functools import cache

from scripts.bench.material import NAMES, Material
from scripts.bench.rows import Bar, Figure, Row
from scripts.bench.running import ROOT, on_core, python
from stages.command.refusal import Refusal

IMAGE = "albert-ja/tokenizer"
BASE = "python:3.11-slim-bookworm"
LINE = "日本語の文を、小さな単位に分ける。\n"
LARGEST = 8
# The image's additions and their bytes; run in the image.
PARTS = ["--entrypoint", "sh", IMAGE, "-c", "du -s --block-size=1 /venv/lib/python3*/site-packages/* /app/*/*"]
# The image lacks these.
NOT_IN_THE_IMAGE = ("pip", "setuptools", "_distutils_hack")


def image(material: Material) -> Iterator[Row]:
    """The size of the image, and that of its packages."""
    name, limit = "image above its Python base", Bar("≤", 300e6, of_value=True)
    missing = without_docker(material.size.name)
    if missing:
        yield Row("image", name, "bytes", None, bar=limit, note=missing)
    else:
        if _docker("image", "inspect", BASE, check=False).returncode:
            _docker("pull", "--quiet", BASE)
        (whole, layers), (base, below) = map(_size_and_layers, (IMAGE, BASE))
        if layers[: len(below)] != below:
            raise Refusal(f"{IMAGE} is not made from the {BASE} that is here; docker pull {BASE}, and build it again")
        parts = _parts(_docker("run", "--rm", "--network", "none", *PARTS).stdout)
        note = f"{whole / 1e6:.0f} MB, of them {BASE} {base / 1e6:.0f} MB; {_largest(parts)}"
        facts = {"image": whole, "base": base, "parts": parts}
        yield Row("image", name, "bytes", Figure(whole - base), bar=limit, note=note, facts=facts)
    [packages] = (ROOT / ".venv" / "tokenizer" / "lib").glob("python3*/site-packages")
    paths = [path.name for path in packages.iterdir() if not path.name.startswith(NOT_IN_THE_IMAGE)]
    parts = _parts(subprocess.check_output(["du", "-s", "--block-size=1", *paths], cwd=packages, encoding="utf-8"))
    size, note, facts = Figure(sum(parts.values())), _largest(parts), {"parts": parts}
    yield Row("image", "packages of the environment", "bytes", size, note=note, facts=facts)


def start(material: Material) -> Iterator[Row]:
    """One line, start to finish, beside the start of Python and its import of numpy."""
    model, limit, name = NAMES["character"], Bar("≤", 2.5), "docker run … tokenize, a line"
    missing = without_docker(material.size.name)
    if missing:
        yield Row("start", name, "seconds", None, bar=limit, note=missing)
    else:
        docker = ["docker", "run", "--rm", "--interactive", "--read-only", "--network", "none", "--cap-drop", "ALL"]
        docker += ["--volume", f"{material.models.resolve()}:/app/models:ro"]
        ours = [*docker, IMAGE, "tokenize", "--model", f"models/{model}"]
        numpy = [*docker, "--entrypoint", "python", IMAGE, "-c", "import numpy"]
        yield _start(name, ours, numpy, material.size.starts, limit)
    ours = [python("tokenizer"), "-m", "stages.tokenizer", "tokenize", "--model", str(material.models / model)]
    numpy = [python("tokenizer"), "-c", "import numpy"]
    with on_core(0):
        yield _start("tokenize, a line, without Docker", ours, numpy, material.size.starts, None)


def _start(name: str, ours: list[str], numpy: list[str], rounds: int, limit: Bar | None) -> Row:
    # The first of each reads files that are not in memory yet.
    pairs = [(_seconds(ours), _seconds(numpy)) for _ in range(rounds + 1)][1:]
    tokenize, imports = (Figure(statistics.median(side)) for side in zip(*pairs, strict=True))
    note, yardstick = f"medians of {rounds} rounds, in turn", 'python -c "import numpy"'
    return Row("start", name, "seconds", tokenize, imports, yardstick, limit, None, note, {"seconds": pairs})


def _seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    # As in the image, whose modules are compiled and not written.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    result = subprocess.run(command, input=LINE, capture_output=True, encoding="utf-8", cwd=ROOT, env=environment)
    seconds = time.perf_counter() - begin
    if result.returncode or ("tokenize" in command) != bool(result.stdout.strip()):
        raise Refusal(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr[-2000:]}")
    return seconds


@cache
def without_docker(size: str) -> str:
    """Build the image; return the reason where that is impossible, else an empty string."""
    if size == "quick":
        return "not measured in quick sizes, since building an image is not quick"
    try:
        version = _docker("version", "--format", "{{.Server.Version}}", check=False)
    except FileNotFoundError:
        return "not measured: there is no docker here"
    if version.returncode:
        return "not measured: no Docker engine answers here"
    _docker("compose", "build", "--quiet", "tokenizer")
    return ""


def _docker(*words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    result = subprocess.run(["docker", *words], cwd=ROOT, capture_output=True, encoding="utf-8")
    if check and result.returncode:
        raise Refusal(f"docker {' '.join(words)} ended with {result.returncode}:\n{result.stderr.strip()[-2000:]}")
    return result


def _size_and_layers(name: str) -> tuple[int, list[str]]:
    [details] = json.loads(_docker("image", "inspect", name).stdout)
    return details["Size"], details["RootFS"]["Layers"]


def _parts(lines: str) -> dict[str, int]:
    """The lines of `du`: paths and their bytes on the disk."""
    return {path: int(size) for size, path in (line.split("\t") for line in lines.splitlines())}


def _largest(parts: dict[str, int]) -> str:
    by_size = sorted(parts.items(), key=lambda part: part[1])[: -LARGEST - 1 : -1]
    names = [f"{name.rpartition('site-packages/')[2]} {size / 1e6:.0f}" for name, size in by_size]
    return f"the largest parts, in MB: {', '.join(names)}"
