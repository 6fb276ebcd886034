"""The tokenizer's image → its size above its base and its largest parts; a line tokenized by it, start to finish.

Without Docker the same is told of the virtual environment, which holds what the image adds, and held against no bar.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from scripts.bench.rows import Bar
from scripts.bench.running import ROOT, python
from scripts.bench.serve.material import NAMES, QUICK, Material, Size, on_core
from scripts.bench.serve.rows import Row
from stages.command.refusal import Refusal

IMAGE = "albert-ja/tokenizer"
BASE = "python:3.11-slim-bookworm"
LINE = "日本語の文を、小さな単位に分ける。\n"
LARGEST = 8
# What the image adds, by the bytes that it takes; run in the image.
PARTS = ["--entrypoint", "sh", IMAGE, "-c", "du -s --block-size=1 /venv/lib/python3*/site-packages/* /app/*/*"]
# The image is made without these.
NOT_IN_THE_IMAGE = ("pip", "setuptools", "_distutils_hack")


def image(material: Material) -> Iterator[Row]:
    """The size of the image, and that of the packages it holds."""
    bar = Bar("≤", 300e6, of_value=True)
    missing = without_docker(material.size)
    if missing:
        yield Row("image", "image above its Python base", "bytes", None, bar=bar, note=missing)
    else:
        if _docker("image", "inspect", BASE, check=False).returncode:
            _docker("pull", "--quiet", BASE)
        (whole, layers), (base, below) = map(_size_and_layers, (IMAGE, BASE))
        if layers[: len(below)] != below:
            raise Refusal(f"{IMAGE} is not made from the {BASE} that is here; docker pull {BASE}, and build it again")
        lines = _docker("run", "--rm", "--network", "none", *PARTS).stdout.splitlines()
        parts = {path: int(size) for size, path in (line.split("\t") for line in lines)}
        yield Row(
            "image", "image above its Python base", "bytes", whole - base, bar=bar,
            note=f"{whole / 1e6:.0f} MB, of them {BASE} {base / 1e6:.0f} MB; {_largest(parts)}",
            facts={"image": whole, "base": base, "parts": parts},
        )  # fmt: skip
    parts = {}
    [packages] = (ROOT / ".venv" / "tokenizer" / "lib").glob("python3*/site-packages")
    for path in packages.iterdir():
        if not path.name.startswith(NOT_IN_THE_IMAGE):
            parts[path.name] = _bytes(path)
    largest = _largest(parts)
    yield Row(
        "image", "packages of the environment", "bytes", sum(parts.values()), note=largest, facts={"parts": parts}
    )


def start(material: Material) -> Iterator[Row]:
    """One line, start to finish, beside the start of Python and its import of numpy."""
    model = NAMES["character"]
    bar = Bar("≤", 2.5)
    missing = without_docker(material.size)
    if missing:
        yield Row("start", "docker run … tokenize, a line", "seconds", None, bar=bar, note=missing)
    else:
        confined = ["run", "--rm", "--interactive", "--read-only", "--network", "none", "--cap-drop", "ALL"]
        volume = ["--volume", f"{material.models.resolve()}:/app/models:ro"]
        ours = ["docker", *confined, *volume, IMAGE, "tokenize", "--model", f"models/{model}"]
        numpy = ["docker", *confined, *volume, "--entrypoint", "python", IMAGE, "-c", "import numpy"]
        yield _start("docker run … tokenize, a line", ours, numpy, material.size.starts, bar)
    ours = [python("tokenizer"), "-m", "stages.tokenizer", "tokenize", "--model", str(material.models / model)]
    numpy = [python("tokenizer"), "-c", "import numpy"]
    with on_core(0):
        yield _start("tokenize, a line, without Docker", ours, numpy, material.size.starts, None)


def _start(name: str, ours: list[str], numpy: list[str], rounds: int, bar: Bar | None) -> Row:
    # The first of each reads files that are not in memory yet.
    pairs = [(_seconds(ours), _seconds(numpy)) for _ in range(rounds + 1)][1:]
    tokenize, imported = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    return Row(
        "start", name, "seconds", tokenize, imported, 'python -c "import numpy"', bar,
        note=f"medians of {rounds} rounds, in turn", facts={"seconds": pairs},
    )  # fmt: skip


def _seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    # As in the image, whose modules are compiled and not written.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, input=LINE, capture_output=True, encoding="utf-8", cwd=ROOT, env=environment)
    seconds = time.perf_counter() - begin
    if done.returncode or ("tokenize" in command) != bool(done.stdout.strip()):
        raise Refusal(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


@cache
def without_docker(size: Size) -> str:
    """Why there is no image to measure; empty where there is one, which is built first."""
    if size.text == QUICK.text:
        return "not measured in quick sizes, since building an image is not quick"
    try:
        found = _docker("version", "--format", "{{.Server.Version}}", check=False)
    except FileNotFoundError:
        return "not measured: there is no docker here"
    if found.returncode:
        return "not measured: no Docker engine answers here"
    _docker("compose", "build", "--quiet", "tokenizer")
    return ""


def _docker(*words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(["docker", *words], cwd=ROOT, capture_output=True, encoding="utf-8")
    if check and done.returncode:
        raise Refusal(f"docker {' '.join(words)} ended with {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return done


def _size_and_layers(name: str) -> tuple[int, list[str]]:
    [found] = json.loads(_docker("image", "inspect", name).stdout)
    return found["Size"], found["RootFS"]["Layers"]


def _bytes(path: Path) -> int:
    """What `du` tells: the blocks of a file, or of all below a folder."""
    if path.is_dir():
        return sum(map(_bytes, path.iterdir()))
    return path.lstat().st_blocks * 512


def _largest(parts: dict[str, int]) -> str:
    by_size: Callable[[str], int] = parts.__getitem__
    named = [f"{name.rpartition('site-packages/')[2]} {parts[name] / 1e6:.0f}" for name in sorted(parts, key=by_size)]
    return f"the largest parts, in MB: {', '.join(named[: -LARGEST - 1 : -1])}"
