"""The options of corpus."""

from dataclasses import dataclass
from typing import Optional, Tuple

from stages.command.folders import Environment, data, remote
from stages.command.options import option, path
from stages.engine.options import engine_option, jobs_option

# Shard numbers have five digits, so that the order of names is the order of numbers.
MOST_SHARDS = 100_000


def _downloads(environment: Environment) -> str:
    """In DATA, or in data where DATA is a bucket."""
    return "data/downloads" if remote(data(environment)) else data(environment) + "/downloads"


@dataclass(frozen=True)
class Options:
    """The defaults are the published recipe."""

    dump: Tuple[str, ...] = path("latest", "what to read, in this order", several=True, variable="DUMP")
    out: str = path("{data}/corpus", "folder for the corpus")
    shards: int = option(640, "number of corpus files", least=1, most=MOST_SHARDS, decides=True)
    min_length: int = option(10, "shortest sentence, in characters", least=1, decides=True)
    max_length: int = option(250, "longest sentence, in characters", least=1, decides=True)
    skip_ids: Optional[str] = path(None, "file of page ids to leave out of a CirrusSearch dump, one a line")
    skip_bad_lines: bool = option(False, "count lines that cannot be read in the manifest, and skip them", decides=True)
    jobs: int = jobs_option()
    engine: str = engine_option()
    downloads: str = path(_downloads, "folder of this machine that keeps downloads (default: DATA/downloads)")
    mirror: str = option("https://dumps.wikimedia.org", 'server of "latest"', unit="URL")
    retries: int = option(6, "failures in a row that a download survives", least=0)

    def conflict(self) -> Optional[str]:
        if self.min_length > self.max_length:
            return "--min-length must not be greater than --max-length"
        return None
