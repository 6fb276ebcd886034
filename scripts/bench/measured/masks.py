"""A model folder and texts with masks → the five best entries at each mask, and the time to find them.

`rows` writes the ids of the texts, for both sides. `onnxruntime` is our `fill-mask`, `pytorch` transformers' model
with the same ids and padding. All texts are one batch. Reading the model and two runs before are not timed.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench.measured.stopwatch import Stopwatch

TOP = 5
Answers = list[list[tuple[int, float]]]


def rows(folder: str, path: str, out: str) -> None:
    """The texts' rows → the file `out`."""
    from stages.words.encoding import Options
    from stages.words.reading import read_tokenizer

    tokenizer = read_tokenizer(folder)
    texts = json.loads(Path(path).read_text(encoding="utf-8"))
    batch = {"rows": tokenizer.rows(texts, Options()), "special": sorted(tokenizer.special), "mask": tokenizer.mask}
    Path(out).write_text(json.dumps(batch), encoding="utf-8")


def onnxruntime(folder: str, batch: dict[str, Any]) -> Callable[[], Answers]:
    """Fill rows as `fill-mask` does."""
    from stages.words.encoding import Row
    from stages.words.filling import MaskedLanguageModel
    from stages.words.reading import read_tokenizer

    model = MaskedLanguageModel(folder, read_tokenizer(folder), threads=1)
    rows = [Row(*row) for row in batch["rows"]]

    def fill() -> Answers:
        texts = model.fill_rows(rows, [TOP] * len(rows))
        return [[(entry.id, entry.score) for entry in mask.fills] for masks in texts for mask in masks]

    return fill


def pytorch(folder: str, batch: dict[str, Any]) -> Callable[[], Answers]:
    """The same with transformers: logits, softmax, the best at the masks."""
    import torch
    from transformers import AlbertForMaskedLM
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    model = AlbertForMaskedLM.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]
    # Padded as by fill-mask.
    rows = [row[0] for row in batch["rows"]]
    length = max(map(len, rows))

    def fill() -> Answers:
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        attention = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=attention).logits[ids == batch["mask"]]
            scores = logits.softmax(-1)
            scores[:, batch["special"]] = -1
            values, entries = scores.topk(TOP)
        return [list(zip(*row, strict=True)) for row in zip(entries.tolist(), values.tolist(), strict=True)]

    return fill


def main(side: str, folder: str, path: str, *more: str) -> None:
    if side == "rows":
        rows(folder, path, *more)
        return
    batch = json.loads(Path(path).read_text(encoding="utf-8"))
    fill = {"onnxruntime": onnxruntime, "pytorch": pytorch}[side](folder, batch)
    answers = [fill(), fill()][1]
    watches = [Stopwatch() for _ in range(int(more[0]))]
    for watch in watches:
        with watch:
            fill()
    # The times of a batch vary by what else the machine does: the median is of the batch.
    wall, cpu = statistics.median(watch.wall for watch in watches), statistics.mean(watch.cpu for watch in watches)
    print(json.dumps({"amount": len(batch["rows"]), "wall": wall, "cpu": cpu, "answers": answers}))
