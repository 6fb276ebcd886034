"""A model folder → a model, and what it predicts at chosen positions: probabilities, the best five, losses."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AlbertForPreTraining

from stages.command.refusal import Refusal
from stages.formats.batches import Batch
from stages.formats.model_folder import ModelFolder

TOP = 5
# Positions whose logits are in memory at a time: 130 MB for 32,768 entries.
_AT_ONCE = 1024


class Predictions(NamedTuple):
    """What a model says at n positions."""

    losses: NDArray[np.float32]  # (n,) -ln P(right entry), in nats
    best: NDArray[np.int64]  # (n, TOP) the most probable entries
    probabilities: NDArray[np.float32]  # (n, TOP) theirs


def load(folder: ModelFolder, device: str) -> Any:
    """The model of a folder, ready to predict. Refuses weights that are damaged, or not those of a whole ALBERT."""
    try:
        model, report = AlbertForPreTraining.from_pretrained(
            folder.path, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise Refusal(f"cannot read the model of {folder.path}: {str(error).splitlines()[0]}")
    missing = sorted(report["missing_keys"])
    if missing:
        raise Refusal(
            f"{folder.path} has no weights for {missing[0]}; an evaluation needs the heads of pretraining, "
            "as make convert writes them"
        )
    return model.to(device).eval()


def on(device: str, array: NDArray[Any]) -> torch.Tensor:
    """Integers as PyTorch looks them up."""
    return torch.from_numpy(array.astype(np.int64)).to(device)


def predict(model: Any, hidden: torch.Tensor, labels: torch.Tensor) -> Predictions:
    """The masked LM head's predictions for hidden states (n, H), and the losses of `labels` (n,)."""
    parts = []
    for states, right in zip(hidden.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True):
        logs = model.predictions(states).log_softmax(-1)
        best = logs.topk(TOP)
        losses = -logs.gather(1, right[:, None])[:, 0]
        parts.append([tensor.cpu().numpy() for tensor in (losses, best.indices, best.values.exp())])
    return Predictions(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def of_batch(model: Any, batch: Batch) -> tuple[Predictions, NDArray[np.float32]]:
    """What a model says of a batch: of its masked tokens, in the order of np.nonzero(batch.weights), and
    ln P(in order), ln P(swapped) of each example: (B, 2)."""
    device = model.device.type
    examples, slots = np.nonzero(batch.weights)
    with torch.inference_mode():
        out = model.albert(
            on(device, batch.ids), attention_mask=on(device, batch.mask), token_type_ids=on(device, batch.segments)
        )
        hidden = out.last_hidden_state[on(device, examples), on(device, batch.positions[examples, slots])]
        order = model.sop_classifier(out.pooler_output).log_softmax(-1)
        made = predict(model, hidden, on(device, batch.labels[examples, slots]))
    return made, order.cpu().numpy()


def masked_in_turn(sentences: list[list[int]], tokens: int) -> Iterator[list[tuple[int, int]]]:
    """Batches of (sentence, position): every token of every sentence once, sentences of like length together.

    sentences: ids with [CLS] and [SEP], which are never masked. A batch has about `tokens` tokens, padding included.
    """
    chosen: list[tuple[int, int]] = []
    for number in sorted(range(len(sentences)), key=lambda number: (len(sentences[number]), number)):
        length = len(sentences[number])
        for position in range(1, length - 1):
            if chosen and (len(chosen) + 1) * length > tokens:
                yield chosen
                chosen = []
            chosen.append((number, position))
    if chosen:
        yield chosen


def at_masks(model: Any, rows: list[tuple[list[int], int]], mask_id: int, pad_id: int) -> Predictions:
    """What a model says of one token of each row (ids with [CLS] and [SEP], position) once it is masked."""
    device, longest = model.device.type, max(len(ids) for ids, _ in rows)
    ids = np.full((len(rows), longest), pad_id)
    mask = np.zeros((len(rows), longest))
    for row, (tokens, _) in enumerate(rows):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    places = np.arange(len(rows)), np.array([position for _, position in rows])
    labels = ids[places]
    ids[places] = mask_id
    with torch.inference_mode():
        out = model.albert(on(device, ids), attention_mask=on(device, mask))
        hidden = out.last_hidden_state[on(device, places[0]), on(device, places[1])]
        return predict(model, hidden, on(device, labels))
