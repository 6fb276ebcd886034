"""The tokenizer's image → its size above its base and its largest parts; a line tokenized by it, start to finish.

The virtual environment, which holds the same packages, is measured as well, without a bar.
"""

import json
import shutil
import statistics
from collections.abc import Iterator
from functools import cache

from scripts.bench.material import NAMES, Material
from scripts.bench.rows import Bar, Row
from scripts.bench.running import ROOT, Figure, execute, on_core, python
from stages.command.refusal import Refusal

IMAGE = "albert-ja/tokenizer"
BASE = "python:3.11-slim-bookworm"
LINE = "日本語の文を、小さな単位に分ける。\n"
LARGEST = 8
SIZES = ["du", "-s", "--block-size=1"]
# The image's additions.
PARTS = "/venv/lib/python3*/site-packages/* /app/*/*"
# The image lacks these.
NOT_IN_THE_IMAGE = ("pip", "setuptools", "_distutils_hack")


def image(material: Material) -> Iterator[Row]:
    """The size of the image, and that of its packages."""
    name, limit = "image above its Python base", Bar("≤", 300e6, of_value=True)
    if missing := without_docker(material.size.name):
        yield Row("image", name, "bytes", None, bar=limit, note=missing)
    else:
        try:
            docker("image", "inspect", BASE)
        except Refusal:
            docker("pull", "--quiet", BASE)
        whole, base = (json.loads(docker("image", "inspect", each))[0] for each in (IMAGE, BASE))
        layers = base["RootFS"]["Layers"]
        if whole["RootFS"]["Layers"][: len(layers)] != layers:
            raise Refusal(f"{IMAGE} is not made from the {BASE} that is here; docker pull {BASE}, and build it again")
        command = f"{' '.join(SIZES)} {PARTS}"
        parts = _parts(docker("run", "--rm", "--network", "none", "--entrypoint", "sh", IMAGE, "-c", command))
        note = f"{whole['Size'] / 1e6:.0f} MB, of them {BASE} {base['Size'] / 1e6:.0f} MB; {_largest(parts)}"
        facts = {"image": whole["Size"], "base": base["Size"], "parts": parts}
        above = Figure(whole["Size"] - base["Size"])
        yield Row("image", name, "bytes", above, bar=limit, note=note, facts=facts)
    [packages] = (ROOT / ".venv" / "tokenizer" / "lib").glob("python3*/site-packages")
    paths = [str(path) for path in packages.iterdir() if not path.name.startswith(NOT_IN_THE_IMAGE)]
    parts = _parts(execute([*SIZES, *paths]).output, f"{packages}/")
    size, note, facts = Figure(sum(parts.values())), _largest(parts), {"parts": parts}
    yield Row("image", "packages of the environment", "bytes", size, note=note, facts=facts)


def start(material: Material) -> Iterator[Row]:
    """One line, start to finish, beside the start of Python and its import of numpy."""
    model, limit, name = NAMES["character"], Bar("≤", 2.5), "docker run … tokenize, a line"
    if missing := without_docker(material.size.name):
        yield Row("start", name, "seconds", None, bar=limit, note=missing)
    else:
        container = ["docker", "run", "--rm", "--interactive", "--read-only", "--network", "none", "--cap-drop", "ALL"]
        container += ["--volume", f"{material.models.resolve()}:/app/models:ro"]
        ours = [*container, IMAGE, "tokenize", "--model", f"models/{model}"]
        numpy = [*container, "--entrypoint", "python", IMAGE, "-c", "import numpy"]
        yield _start(name, ours, numpy, material.size.starts, limit)
    ours = [python("tokenizer"), "-m", "stages.tokenizer", "tokenize", "--model", str(material.models / model)]
    numpy = [python("tokenizer"), "-c", "import numpy"]
    with on_core(0):
        yield _start("tokenize, a line, without Docker", ours, numpy, material.size.starts, None)


def _start(name: str, ours: list[str], numpy: list[str], rounds: int, limit: Bar | None) -> Row:
    pairs = []
    for _ in range(rounds + 1):
        processes = [execute(command, one_core=False, text=LINE) for command in (ours, numpy)]
        if not processes[0].output.strip():
            raise Refusal(f"{' '.join(ours)} printed nothing")
        pairs.append([process.wall for process in processes])
    # The first of each reads files that are not in memory yet.
    tokenize, imports = (Figure(statistics.median(side)) for side in zip(*pairs[1:], strict=True))
    note, yardstick = f"medians of {rounds} rounds, in turn", 'python -c "import numpy"'
    return Row("start", name, "seconds", tokenize, imports, yardstick, limit, None, note, {"seconds": pairs[1:]})


@cache
def without_docker(size: str) -> str:
    """Build the image; return the reason where that is impossible, else an empty string."""
    if size == "quick":
        return "not measured in quick sizes, since building an image is not quick"
    if not shutil.which("docker"):
        return "not measured: there is no docker here"
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except Refusal:
        return "not measured: no Docker engine answers here"
    docker("compose", "build", "--quiet", "tokenizer")
    return ""


def docker(*words: str) -> str:
    """The output of a command. Refuses a failure."""
    return execute(["docker", *words], one_core=False).output


def _parts(lines: str, folder: str = "") -> dict[str, int]:
    """The lines of `du`: paths below the folder and their bytes on the disk."""
    return {path.removeprefix(folder): int(size) for size, path in (line.split("\t") for line in lines.splitlines())}


def _largest(parts: dict[str, int]) -> str:
    by_size = sorted(parts.items(), key=lambda part: part[1])[: -LARGEST - 1 : -1]
    names = [f"{name.rpartition('site-packages/')[2]} {size / 1e6:.0f}" for name, size in by_size]
    return f"the largest parts, in MB: {', '.join(names)}"
