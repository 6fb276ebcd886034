"""The options of serve."""

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from stages.command.folders import Environment, models, remote
from stages.command.options import option, path


def all_models(environment: Environment) -> str:
    """MODELS, or the released models where it has none."""
    folder = models(environment)
    return folder if remote(folder) or any(Path(folder).rglob("vocab.txt")) else "released"


@dataclass(frozen=True)
class Options:
    models: str = path(
        all_models,
        "a model folder, or a folder of them: a model's name is its path; released: those of this project",
    )
    default: Optional[str] = option(None, "the model of a request that names none (default: the first by name)")
    # zsh sets HOST to the name of the machine. PORT is, for make and compose, the port outside the container.
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0: all of them", variable="")
    port: int = option(8000, "port to listen on; 0: any that is free", least=0, most=65535, variable="")
    threads: int = option(0, "processors for a model; 0: all", least=0)
    max_body: int = option(1 << 20, "a longer request body is refused, 413", unit="BYTES", least=1)
    max_texts: int = option(256, "more texts in a request are refused, 422", least=1)
    max_characters: int = option(100_000, "more in the texts of a request are refused, 422", least=1)
    max_waiting: int = option(1024, "concurrent requests; more are refused, 503", least=1)
    timeout: float = option(30.0, "seconds that a request may take", unit="S", least=0.001)
    quiet: bool = option(False, "log no requests, only the start, the end and faults")
