"""Texts with [MASK] → what a model folder's model.onnx puts there, by onnxruntime, without PyTorch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.words.encoding import Options, Row, Tokenizer
from stages.words.reading import fetch_model

MODEL = "model.onnx"
CONFIG = "config.json"
# Of logits at a time, or one text's: (texts, tokens, vocabulary) float32. onnxruntime takes some times as much: with
# 1 << 28 a service grew to 1.4 GB.
MOST_BYTES = 1 << 25
MOST_TEXTS = 64


class Fill(NamedTuple):
    """An entry and its probability at a mask."""

    token: str
    id: int
    score: float


class Mask(NamedTuple):
    """A [MASK] at [start, end) in the text as given, and the most probable entries there, the best first."""

    start: int
    end: int
    fills: list[Fill]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON objects."""
        return {"start": self.start, "end": self.end, "fills": [fill._asdict() for fill in self.fills]}


class Unfit(ValueError):
    """A text that cannot be filled; `place`: which one of those given."""

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


class TooLong(Unfit):
    """More tokens than the model has positions for."""


class WithoutMask(Unfit):
    """Nothing to fill."""


class MaskedLanguageModel:
    """A model.onnx, as `convert` writes it: int64 ids, mask, types (texts, tokens) → logits (…, vocabulary).

    threads: processors for one run; 0 leaves it to onnxruntime (all). Refuses a folder without model.onnx, one that
    onnxruntime cannot read, and one of another vocabulary than the tokenizer's.
    """

    def __init__(self, folder: str, tokenizer: Tokenizer, threads: int = 0) -> None:
        if storage.remote(folder):
            with tempfile.TemporaryDirectory(prefix="model-") as copy:
                fetch_model(folder, copy, (MODEL, CONFIG))
                self._load(copy, folder, tokenizer, threads)
        else:
            self._load(folder, folder, tokenizer, threads)

    def _load(self, folder: str, named: str, tokenizer: Tokenizer, threads: int) -> None:
        path = os.path.join(folder, MODEL)
        if not os.path.isfile(path):
            raise Refusal(f"{named} has no {MODEL}, which fills masks; make convert writes one")
        # It reports its use to its makers, and writes an id of this machine for that, unless told not to.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # 30 ms, which the other commands need not take

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        # Else it remembers for good how memory was used by each shape of a batch, of which there are thousands.
        options.enable_mem_pattern = False
        # Threads that wait for the next run would take the processors from everything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each of its codes, and no common one
            raise Refusal(f"cannot read {os.path.join(named, MODEL)}: {str(error).splitlines()[0]}")
        # Else the memory of the largest batch so far is kept for good.
        self._run = onnxruntime.RunOptions()
        self._run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.tokenizer = tokenizer
        entries = self._session.get_outputs()[0].shape[-1]
        if entries != len(tokenizer.rules.entries):
            raise Refusal(
                f"{named}: {MODEL} has {entries} entries and vocab.txt {len(tokenizer.rules.entries)}; "
                "they are of two models"
            )
        self.positions = _positions(folder, tokenizer)
        self._special = np.array(sorted(id_ for id_ in tokenizer.special if id_ < entries), np.int64)
        self._entries = entries

    def check(self, rows: Sequence[Row]) -> None:
        """TooLong or WithoutMask for the first text that cannot be filled."""
        for place, row in enumerate(rows):
            if self.tokenizer.mask not in row.input_ids:
                raise WithoutMask("there is no [MASK] in the text", place)
            if len(row.input_ids) > self.positions:
                raise TooLong(
                    f"{len(row.input_ids)} tokens, and the model takes {self.positions} with [CLS] and [SEP]", place
                )

    def fill(self, texts: Sequence[str], top_k: int) -> list[list[Mask]]:
        """The `top_k` most probable entries at each mask of each text, special ones left out; see `check`."""
        rows = self.tokenizer.rows(texts, Options())
        self.check(rows)
        return self.fill_rows(rows, [top_k] * len(rows))

    def fill_rows(self, rows: Sequence[Row], top_k: Sequence[int]) -> list[list[Mask]]:
        """The same for rows of tokens that were checked, each with its own top_k. Several threads may call it."""
        answers: list[list[Mask]] = [[] for _ in rows]
        for group in self._groups(rows):
            ids = np.zeros((len(group), max(len(rows[place].input_ids) for place in group)), np.int64)
            given = np.zeros_like(ids)
            for line, place in enumerate(group):
                length = len(rows[place].input_ids)
                ids[line, :length], given[line, :length] = rows[place].input_ids, 1
            feed = {"input_ids": ids, "attention_mask": given, "token_type_ids": np.zeros_like(ids)}
            [logits] = self._session.run(None, feed, self._run)
            lines, columns = np.nonzero(ids == self.tokenizer.mask)
            best = self._best(logits[lines, columns], max(top_k[place] for place in group))
            for line, column, fills in zip(lines.tolist(), columns.tolist(), best, strict=True):
                place = group[line]
                start, end = rows[place].offsets[column]
                answers[place].append(Mask(start, end, fills[: top_k[place]]))
        return answers

    def _groups(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Places of texts that go through the model together: of like length, so that little is padding."""
        group: list[int] = []
        for place in sorted(range(len(rows)), key=lambda place: len(rows[place].input_ids)):
            size = (len(group) + 1) * len(rows[place].input_ids) * self._entries * 4
            if group and (size > MOST_BYTES or len(group) == MOST_TEXTS):
                yield group
                group = []
            group.append(place)
        if group:
            yield group

    def _best(self, logits: NDArray[np.float32], top_k: int) -> list[list[Fill]]:
        """The entries of highest probability: softmax over all entries, then the special ones are left out."""
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        scores[:, self._special] = -1
        top_k = min(top_k, self._entries - len(self._special))
        found = np.argpartition(scores, -top_k, axis=1)[:, -top_k:]
        values = np.take_along_axis(scores, found, axis=1)
        order = np.lexsort((found, -values), axis=1)
        found, values = np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)
        entries = self.tokenizer.entries
        return [
            [Fill(entries[id_], id_, score) for id_, score in zip(ids, row, strict=True)]
            for ids, row in zip(found.tolist(), values.tolist(), strict=True)
        ]


def _positions(folder: str, tokenizer: Tokenizer) -> int:
    """The most tokens that the model takes."""
    config = read_json(os.path.join(folder, CONFIG)) if os.path.isfile(os.path.join(folder, CONFIG)) else {}
    positions = config.get("max_position_embeddings", 512) if isinstance(config, dict) else 512
    return min(int(positions), tokenizer.max_length or int(positions))
