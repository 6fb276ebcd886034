"""The sample's sentences in a random order → dumps, every stage's command on them, and its undisturbed run."""

import bz2
import gzip
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.torture.runs import ROOT, files, finish

SAMPLE = ROOT / "scripts" / "sample" / "jasample-cirrussearch-content.json"
TINY = ROOT / "stages" / "tpu_train" / "configs" / "character_tiny.json"
# Its sizes make a model that trains in seconds.
SIZES = {
    "vocab_size": 40, "embedding_size": 16, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip


class Command(NamedTuple):
    """A stage's command line without `--out` and `--jobs`, and the commands that make its input."""

    stage: str
    arguments: tuple[object, ...]
    after: tuple[str, ...] = ()
    parallel: bool = True

    def line(self, out: Path, jobs: int = 2) -> list[object]:
        return [*self.arguments, "--out", out, *(["--jobs", jobs] if self.parallel else [])]


class Clean(NamedTuple):
    """An undisturbed run: its folder, the SHA-256 of its files, and its seconds."""

    out: Path
    files: dict[str, str]
    seconds: float


def articles(number: int, seed: int) -> list[str]:
    """Documents of a dump, as lines of JSON: sentences of the sample in an order that follows from the seed."""
    draw = random.Random(seed)
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()[1::2]
    sentences = [part + "。" for line in lines for part in json.loads(line)["text"].split("。")[:-1]]
    texts = (f"{n}番目の記事である。" + "".join(draw.sample(sentences, draw.randint(1, 20))) for n in range(number))
    return [json.dumps({"text": text}, ensure_ascii=False) for text in texts]


def dump(documents: list[str], first: int = 0) -> bytes:
    """These documents in the form of a CirrusSearch dump."""
    return "".join(f'{{"index":{{"_id":{first + n}}}}}\n{line}\n' for n, line in enumerate(documents)).encode()


class Flow:
    """The stages on a dump of `number` articles: their commands, and an undisturbed run of each."""

    def __init__(self, folder: Path, number: int, copies: int = 2, log: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self.dump, self._log = folder, folder / "dump.json.gz", log
        parts, third = folder / "parts", number // 3
        parts.mkdir(parents=True)
        documents = articles(number, 1)
        self.dump.write_bytes(gzip.compress(dump(documents), 1, mtime=0))
        for part, first in enumerate(range(0, 3 * third, third)):
            (parts / f"{part}.json.bz2").write_bytes(bz2.compress(dump(documents[first : first + third], first), 1))
        config = folder / "config.json"
        config.write_text(json.dumps({**json.loads(TINY.read_text()), **SIZES}))
        corpus, vocab, tfrecords, trained = (folder / name for name in ("corpus", "vocab", "tfrecords", "tpu-train"))
        sizes = ("--vocab-size", 2000, "--alphabet-size", 1000)
        examples = ("--corpus", corpus, "--vocab", vocab, "--seq-length", 64, "--dupe-factor", copies)
        steps = ("--device", "cpu", "--batch", 4, "--eval-batch", 4, "--eval-steps", 1, "--steps", 4, "--save-every", 2)
        records = ("--tfrecords", tfrecords / "character", "--config", config, "--vocab-size-from-tfrecords")
        checkpoint = ("--checkpoint", trained / "model.ckpt-best", "--config", trained / "albert_config.json")
        model = (*checkpoint, "--vocab", vocab / "character" / "vocab.txt")
        self.commands = {
            "corpus": Command("corpus", ("--dump", self.dump, "--shards", 8)),
            "corpus of bzip2": Command("corpus", ("--dump", parts, "--shards", 5)),
            "vocab": Command("vocab", ("--corpus", corpus, *sizes), after=("corpus",)),
            "tfrecords": Command("tfrecords", examples, after=("corpus", "vocab")),
            "tpu-train": Command("tpu-train", (*records, *steps), after=("tfrecords",), parallel=False),
            "convert": Command("convert", model, after=("tpu-train",), parallel=False),
        }
        self._clean: dict[str, Clean] = {}

    def clean(self, name: str) -> Clean:
        """The undisturbed run of a command; the first call runs it, after the commands of its input."""
        if name not in self._clean:
            command = self.commands[name]
            for before in command.after:
                self.clean(before)
            out = self.folder / name.replace(" ", "-")
            start = time.monotonic()
            finish(command.stage, command.line(out))
            clean = self._clean[name] = Clean(out, files(out), time.monotonic() - start)
            self._log(f"undisturbed {name}: {len(clean.files)} files in {clean.seconds:.1f} s")
        return self._clean[name]
