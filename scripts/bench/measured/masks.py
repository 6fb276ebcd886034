"""A model folder and texts with masks → the five best entries at each mask, and the time to find them.

`onnxruntime` is our `fill-mask`, `pytorch` transformers' model
with the same ids and padding. All texts are one batch. Reading the model and two runs before are not timed.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

from scripts.bench.measured.stopwatch import Stopwatch
from stages.words.encoding import Options, Row, Tokenizer
from stages.words.reading import read_tokenizer

TOP = 5
Answers = list[list[tuple[int, float]]]


def onnxruntime(folder: str, tokenizer: Tokenizer, rows: list[Row]) -> Callable[[], Answers]:
    """Fill rows as `fill-mask` does."""
    from stages.words.filling import MaskedLanguageModel

    model = MaskedLanguageModel(folder, tokenizer, threads=1)

    def fill() -> Answers:
        texts = model.fill_rows(rows, [TOP] * len(rows))
        return [[(entry.id, entry.score) for entry in mask.fills] for masks in texts for mask in masks]

    return fill


def pytorch(folder: str, tokenizer: Tokenizer, rows: list[Row]) -> Callable[[], Answers]:
    """The same with transformers: logits, softmax, the best at the masks."""
    import torch
    from transformers import AlbertForMaskedLM
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    model = AlbertForMaskedLM.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]
    # Padded as by fill-mask.
    texts = [row.input_ids for row in rows]
    length = max(map(len, texts))

    def fill() -> Answers:
        ids = torch.tensor([ids + [0] * (length - len(ids)) for ids in texts])
        attention = torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids in texts])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=attention).logits[ids == tokenizer.mask]
            scores = logits.softmax(-1)
            scores[:, sorted(tokenizer.special)] = -1
            values, entries = scores.topk(TOP)
        return [list(zip(*row, strict=True)) for row in zip(entries.tolist(), values.tolist(), strict=True)]

    return fill


def main(side: str, folder: str, path: str, batches: str) -> None:
    tokenizer = read_tokenizer(folder)
    rows = tokenizer.rows(json.loads(Path(path).read_text(encoding="utf-8")), Options())
    fill = {"onnxruntime": onnxruntime, "pytorch": pytorch}[side](folder, tokenizer, rows)
    answers = [fill(), fill()][1]
    watches = [Stopwatch() for _ in range(int(batches))]
    for watch in watches:
        with watch:
            fill()
    # The times of a batch vary by what else the machine does: the median is of the batch.
    wall, cpu = statistics.median(watch.wall for watch in watches), statistics.mean(watch.cpu for watch in watches)
    print(json.dumps({"amount": len(rows), "wall": wall, "cpu": cpu, "answers": answers}))
