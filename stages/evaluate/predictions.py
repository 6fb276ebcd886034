"""A model folder → a model, and its predictions at masked positions: losses, the five best entries, probabilities."""

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
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

TOP = 5
# Positions whose logits are in memory together: 130 MB for 32,768 entries.
_CHUNK = 1024


class Predictions(NamedTuple):
    """Predictions at n positions."""

    losses: NDArray[np.float32]  # (n,) -ln P(label), in nats
    best: NDArray[np.int64]  # (n, TOP) the most probable entries
    probabilities: NDArray[np.float32]  # (n, TOP) of these entries


def load_model(folder: ModelFolder, device: str) -> Any:
    """The model of a folder, ready to predict. Refuses weights that are damaged or incomplete."""
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


def _tensor(device: str, array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)


def _predict(model: Any, hidden: torch.Tensor, labels: torch.Tensor) -> Predictions:
    """The masked LM head's predictions for hidden states (n, H), and the losses of `labels` (n,)."""
    parts = []
    for states, targets in zip(hidden.split(_CHUNK), labels.split(_CHUNK), strict=True):
        logs = model.predictions(states).log_softmax(-1)
        best = logs.topk(TOP)
        losses = -logs.gather(1, targets[:, None])[:, 0]
        parts.append([tensor.cpu().numpy() for tensor in (losses, best.indices, best.values.exp())])
    return Predictions(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def predict_batch(model: Any, batch: Batch) -> tuple[Predictions, NDArray[np.float32]]:
    """Predictions for the masked tokens, in the order of np.nonzero(batch.weights), and the sentence order.

    The latter is ln P(in order), ln P(swapped) of each example: (B, 2).
    """
    device = model.device.type
    examples, slots = np.nonzero(batch.weights)
    with torch.inference_mode():
        output = model.albert(
            _tensor(device, batch.ids),
            attention_mask=_tensor(device, batch.mask),
            token_type_ids=_tensor(device, batch.segments),
        )
        positions = _tensor(device, batch.positions[examples, slots])
        hidden = output.last_hidden_state[_tensor(device, examples), positions]
        order = model.sop_classifier(output.pooler_output).log_softmax(-1)
        predictions = _predict(model, hidden, _tensor(device, batch.labels[examples, slots]))
    return predictions, order.cpu().numpy()


def mask_batches(sentences: list[list[int]], tokens: int) -> Iterator[list[tuple[int, int]]]:
    """Batches of (sentence, position): every token of every sentence once, in order of the sentences' lengths.

    sentences: ids with [CLS] and [SEP], which are never masked. A batch has at most `tokens` tokens with padding, or
    one row.
    """
    batch: list[tuple[int, int]] = []
    for number in sorted(range(len(sentences)), key=lambda number: (len(sentences[number]), number)):
        length = len(sentences[number])
        for position in range(1, length - 1):
            if batch and (len(batch) + 1) * length > tokens:
                yield batch
                batch = []
            batch.append((number, position))
    if batch:
        yield batch


def predict_masked(
    model: Any, tokenizer: BertJapaneseTinySegmenterTokenizer, rows: list[tuple[list[int], int]]
) -> Predictions:
    """Predictions for one token of each row, which is masked. rows: (ids with [CLS] and [SEP], position)."""
    device, longest = model.device.type, max(len(ids) for ids, _ in rows)
    ids = np.full((len(rows), longest), tokenizer.pad_token_id)
    mask = np.zeros((len(rows), longest))
    for number, (row, _) in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = row, 1
    indices = np.arange(len(rows)), np.array([position for _, position in rows])
    labels = ids[indices]
    ids[indices] = tokenizer.mask_token_id
    with torch.inference_mode():
        output = model.albert(_tensor(device, ids), attention_mask=_tensor(device, mask))
        hidden = output.last_hidden_state[_tensor(device, indices[0]), _tensor(device, indices[1])]
        return _predict(model, hidden, _tensor(device, labels))
