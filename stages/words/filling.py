"""Texts with [MASK] → the entries that a model folder's model.onnx predicts there, by onnxruntime, without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.words.encoding import Options, Row, Tokenizer

MODEL = "model.onnx"
CONFIG = "config.json"
# Logits of one run: (texts, tokens, vocabulary) float32. onnxruntime takes a multiple of it: with 1 << 28 a service
# grew to 1.4 GB. A single text may exceed it.
RUN_BYTES = 1 << 25
RUN_TEXTS = 64
# Masks whose entries are sorted together: with all 510 of a text and 32,768 entries, that took 270 MB.
MASKS = 64


class Fill(NamedTuple):
    """An entry and its probability at a mask."""

    token: str
    id: int
    score: float


class Mask(NamedTuple):
    """A [MASK] at [start, end) of the original text, and the most probable entries there, the best first."""

    start: int
    end: int
    fills: list[Fill]

    def as_json(self) -> dict[str, Any]:
        """The mask as JSON objects."""
        return {"start": self.start, "end": self.end, "fills": [fill._asdict() for fill in self.fills]}


class FillError(ValueError):
    """A text that cannot be filled; `index`: its place in the batch."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class MaskedLanguageModel:
    """A model.onnx, as `convert` writes it: int64 ids, mask, types (texts, tokens) → logits (…, vocabulary).

    threads: processors for one run; 0: onnxruntime's default (all). Refuses a folder without model.onnx, one that
    onnxruntime cannot read, and one with another vocabulary than the tokenizer's.
    """

    def __init__(self, folder: str, tokenizer: Tokenizer, threads: int = 0) -> None:
        path, config_path = storage.join(folder, MODEL), storage.join(folder, CONFIG)
        if not storage.exists(path):
            raise Refusal(f"{folder} has no {MODEL}, which fills masks; make convert writes one")
        # Without it onnxruntime sends telemetry, and writes an id of this machine for it.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # 30 ms, which the other commands do not need

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        # A memory pattern is kept for every shape of a batch, and there are thousands of shapes.
        options.enable_mem_pattern = False
        # Threads that spin until the next run take the processors from other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with storage.fetched(path) as local:
            try:
                self._session = onnxruntime.InferenceSession(local, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime's error classes have no common base
                raise Refusal(f"cannot read {path}: {str(error).splitlines()[0]}")
        # Without it the memory of the largest batch is kept until the end.
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._size, size = self._session.get_outputs()[0].shape[-1], len(tokenizer.rules.entries)
        if self._size != size:
            raise Refusal(f"{folder}: {MODEL} has {self._size} entries and vocab.txt {size}; they are of two models")
        config = read_json(config_path) if storage.exists(config_path) else {}
        positions = int(config.get("max_position_embeddings", 512) if isinstance(config, dict) else 512)
        self.tokenizer, self.positions = tokenizer, min(positions, tokenizer.max_length or positions)
        self._special = np.array(sorted(id_ for id_ in tokenizer.special if id_ < size), np.int64)

    def check(self, rows: Sequence[Row]) -> None:
        """FillError for the first text without a [MASK] or with more tokens than the model has positions."""
        for index, row in enumerate(rows):
            if self.tokenizer.mask not in row.input_ids:
                raise FillError("there is no [MASK] in the text", index)
            if len(row.input_ids) > self.positions:
                raise FillError(
                    f"{len(row.input_ids)} tokens, and the model takes {self.positions} with [CLS] and [SEP]", index
                )

    def fill(self, texts: Sequence[str], top_k: int) -> list[list[Mask]]:
        """The `top_k` most probable entries at each mask of each text, without special tokens. Errors: see `check`."""
        rows = self.tokenizer.rows(texts, Options())
        self.check(rows)
        return self.fill_rows(rows, [top_k] * len(rows))

    def fill_rows(self, rows: Sequence[Row], top_k: Sequence[int]) -> list[list[Mask]]:
        """The masks of rows that passed `check`, each with its own top_k. Several threads may call it concurrently."""
        results: list[list[Mask]] = [[] for _ in rows]
        for group in self._groups(rows):
            ids = np.zeros((len(group), max(len(rows[index].input_ids) for index in group)), np.int64)
            attention = np.zeros_like(ids)
            for line, index in enumerate(group):
                length = len(rows[index].input_ids)
                ids[line, :length], attention[line, :length] = rows[index].input_ids, 1
            inputs = {"input_ids": ids, "attention_mask": attention, "token_type_ids": np.zeros_like(ids)}
            [logits] = self._session.run(None, inputs, self._run_options)
            places = np.argwhere(ids == self.tokenizer.mask)  # (masks, 2)
            for first in range(0, len(places), MASKS):
                some = places[first : first + MASKS]
                best = self._best(logits[some[:, 0], some[:, 1]], max(top_k[index] for index in group))
                for (line, column), fills in zip(some.tolist(), best, strict=True):
                    index = group[line]
                    start, end = rows[index].offsets[column]
                    results[index].append(Mask(start, end, fills[: top_k[index]]))
        return results

    def _groups(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Indices of the texts of each run. Texts of similar length are together, to keep the padding small."""
        group: list[int] = []
        for index in sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids)):
            size = (len(group) + 1) * len(rows[index].input_ids) * self._size * 4
            if group and (size > RUN_BYTES or len(group) == RUN_TEXTS):
                yield group
                group = []
            group.append(index)
        if group:
            yield group

    def _best(self, logits: NDArray[np.float32], top_k: int) -> list[list[Fill]]:
        """The most probable entries at each mask: softmax over all entries, then without the special ones."""
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        scores[:, self._special] = -1
        top_k = min(top_k, self._size - len(self._special))
        ids = np.argpartition(scores, -top_k, axis=1)[:, -top_k:]
        values = np.take_along_axis(scores, ids, axis=1)
        order = np.lexsort((ids, -values), axis=1)
        ids, values = np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)
        entries = self.tokenizer.entries
        return [
            [Fill(entries[id_], id_, score) for id_, score in zip(*row, strict=True)]
            for row in zip(ids.tolist(), values.tolist(), strict=True)
        ]
