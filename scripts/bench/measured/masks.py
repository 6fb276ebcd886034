"""A model folder and texts with masks → the time to find the five best entries at each mask, and which these are.

`rows` writes the ids of the texts, for both sides. `onnxruntime` is `fill-mask` as it is here, `pytorch` transformers'
model with the same ids and padding. All texts are one batch. Reading the model and two runs before are not timed.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

TOP = 5
Answers = list[list[tuple[int, float]]]


def rows(folder: str, path: str, out: str) -> None:
    """The texts' rows → the file `out`."""
    from stages.words.encoding import Options
    from stages.words.reading import read_tokenizer

    tokenizer = read_tokenizer(folder)
    with open(path, encoding="utf-8") as stream:
        made = tokenizer.rows(json.load(stream), Options())
    told = {"rows": made, "special": sorted(tokenizer.special), "mask": tokenizer.mask}
    with open(out, "w", encoding="utf-8") as stream:
        json.dump(told, stream)


def onnxruntime(folder: str, given: dict[str, Any]) -> Callable[[], Answers]:
    """What `fill-mask` does with rows."""
    from stages.words.encoding import Row
    from stages.words.filling import MaskedLanguageModel
    from stages.words.reading import read_tokenizer

    model = MaskedLanguageModel(folder, read_tokenizer(folder), threads=1)
    batch = [Row(*row) for row in given["rows"]]

    def once() -> Answers:
        filled = model.fill_rows(batch, [TOP] * len(batch))
        return [[(fill.id, fill.score) for fill in mask.fills] for masks in filled for mask in masks]

    return once


def pytorch(folder: str, given: dict[str, Any]) -> Callable[[], Answers]:
    """The same with transformers: logits, softmax, the best at the masks."""
    import torch
    from transformers import AlbertForMaskedLM
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    model = AlbertForMaskedLM.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]
    # As fill-mask writes them below one another.
    batch = [row[0] for row in given["rows"]]
    length = max(map(len, batch))

    def once() -> Answers:
        ids = torch.tensor([row + [0] * (length - len(row)) for row in batch])
        there = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in batch])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=there).logits[ids == given["mask"]]
            scores = logits.softmax(-1)
            scores[:, given["special"]] = -1
            values, found = scores.topk(TOP)
        return [list(zip(*row, strict=True)) for row in zip(found.tolist(), values.tolist(), strict=True)]

    return once


def main(side: str, folder: str, path: str, *more: str) -> None:
    if side == "rows":
        rows(folder, path, *more)
        return
    with open(path, encoding="utf-8") as stream:
        given = json.load(stream)
    once = {"onnxruntime": onnxruntime, "pytorch": pytorch}[side](folder, given)
    answers = [once(), once()][1]
    seconds = []
    started = time.process_time()
    for _ in range(int(more[0])):
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
    cpu = time.process_time() - started
    # The times of a batch vary by what else the machine does: the median is of the batch.
    told = {"amount": len(given["rows"]), "wall": statistics.median(seconds), "cpu": cpu / len(seconds)}
    print(json.dumps({**told, "answers": answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
