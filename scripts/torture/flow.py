"""The sample's sentences, drawn anew → dumps, every stage's command on them, and what undisturbed runs end in."""

import bz2
import gzip
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from scripts.torture.runs import ROOT, files, finish

SAMPLE = ROOT / "scripts" / "sample" / "jasample-cirrussearch-content.json"
# A model that trains in seconds.
MODEL = {
    "vocab_size": 40,
    "embedding_size": 16,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.02,
}


class Command(NamedTuple):
    """A stage's command line but for `--out` and `--jobs`, and the commands that make what it reads."""

    stage: str
    arguments: tuple[object, ...]
    after: tuple[str, ...] = ()
    parallel: bool = True

    def line(self, out: Path, jobs: int = 2) -> list[object]:
        return [*self.arguments, "--out", out, *(["--jobs", jobs] if self.parallel else [])]


class Clean(NamedTuple):
    """An undisturbed run: its folder, the files that it made, and the seconds that it took."""

    out: Path
    files: dict[str, str]
    seconds: float


def articles(number: int, seed: int) -> list[str]:
    """Documents of a dump, as lines of JSON: sentences of the sample in another order, the same ones for a seed."""
    draw = random.Random(seed)
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()[1::2]
    sentences = [part + "。" for line in lines for part in json.loads(line)["text"].split("。")[:-1]]
    return [
        json.dumps(
            {"text": f"{article}番目の記事である。" + "".join(draw.sample(sentences, draw.randint(1, 20)))},
            ensure_ascii=False,
        )
        for article in range(number)
    ]


def dump(documents: list[str], first: int = 0) -> bytes:
    """These documents in the form of a CirrusSearch dump."""
    return "".join(f'{{"index":{{"_id":{first + n}}}}}\n{line}\n' for n, line in enumerate(documents)).encode()


class Flow:
    """The stages on a dump of so many articles: their commands, and an undisturbed run of each."""

    def __init__(
        self, folder: Path, number: int, copies: int = 2, said: Callable[[str], None] = lambda line: None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._said = folder, said
        self.dump = folder / "dump.json.gz"
        made = articles(number, 1)
        self.dump.write_bytes(gzip.compress(dump(made), 1, mtime=0))
        parts, third = folder / "parts", number // 3
        parts.mkdir()
        for part in range(3):
            documents = made[part * third : (part + 1) * third]
            (parts / f"{part}.json.bz2").write_bytes(bz2.compress(dump(documents, part * third), 1))
        (folder / "config.json").write_text(json.dumps(MODEL))
        corpus, vocab, tfrecords, trained = (folder / name for name in ("corpus", "vocab", "tfrecords", "tpu-train"))
        sizes = ("--vocab-size", 2000, "--alphabet-size", 1000)
        training = ("--device", "cpu", "--batch", 4, "--eval-batch", 4, "--eval-steps", 1, "--steps", 4)
        self.commands = {
            "corpus": Command("corpus", ("--dump", self.dump, "--shards", 8)),
            "corpus of bzip2": Command("corpus", ("--dump", parts, "--shards", 5)),
            "vocab": Command("vocab", ("--corpus", corpus, *sizes), after=("corpus",)),
            "tfrecords": Command(
                "tfrecords",
                ("--corpus", corpus, "--vocab", vocab, "--seq-length", 64, "--dupe-factor", copies),
                after=("corpus", "vocab"),
            ),
            "tpu-train": Command(
                "tpu-train",
                (
                    *("--tfrecords", tfrecords / "character", "--config", folder / "config.json"),
                    *(*training, "--save-every", 2, "--vocab-size-from-tfrecords"),
                ),
                after=("tfrecords",),
                parallel=False,
            ),
            "convert": Command(
                "convert",
                (
                    *("--checkpoint", trained / "model.ckpt-best", "--config", trained / "albert_config.json"),
                    *("--vocab", vocab / "character" / "vocab.txt"),
                ),
                after=("tpu-train",),
                parallel=False,
            ),
        }
        self._clean: dict[str, Clean] = {}

    def clean(self, name: str) -> Clean:
        """The undisturbed run of a command, made when it is first asked for, behind those that it reads."""
        if name not in self._clean:
            command = self.commands[name]
            for before in command.after:
                self.clean(before)
            out = self.folder / name.replace(" ", "-")
            start = time.monotonic()
            finish(command.stage, command.line(out))
            self._clean[name] = Clean(out, files(out), time.monotonic() - start)
            self._said(f"undisturbed {name}: {len(self._clean[name].files)} files in {time.monotonic() - start:.1f} s")
        return self._clean[name]
