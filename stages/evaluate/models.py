"""A model folder → a model, and its predictions for masked tokens: losses, the five best entries, probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AlbertForPreTraining

from stages.command.refusal import Refusal
from stages.evaluate.scores import TOP, Predictions
from stages.formats.batches import Batch
from stages.formats.model_folder import ModelFolder
from stages.words.model_folder import read_tokenizer_class

# Positions whose logits are in memory together: 130 MB for 32,768 entries.
_CHUNK = 1024


class Model:
    """The model of a folder. Refuses weights that are damaged or incomplete."""

    def __init__(self, folder: ModelFolder, device: str) -> None:
        try:
            network, report = AlbertForPreTraining.from_pretrained(
                folder.path, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise Refusal(f"cannot read the model of {folder.address}: {str(error).splitlines()[0]}")
        missing = sorted(report["missing_keys"])
        if missing:
            raise Refusal(
                f"{folder.address} has no weights for {missing[0]}; an evaluation needs the heads of pretraining, "
                "as make convert writes them"
            )
        self.folder, self.device = folder, device
        self.network, self.tokenizer = network.to(device).eval(), read_tokenizer_class(folder.address)

    def description(self) -> dict[str, Any]:
        settings = self.folder.settings
        return {
            "name": self.folder.name,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "layers": settings["num_hidden_layers"],
            "hidden": settings["hidden_size"],
            "entries": len(self.folder.entries),
            "subwords": self.tokenizer.subword_tokenizer_type,
        }

    def predict_batch(self, batch: Batch) -> tuple[Predictions, NDArray[np.float32]]:
        """Predictions for the masked tokens, in the order of np.nonzero(batch.weights), and the sentence order.

        The latter is ln P(in order), ln P(swapped) of each example: (B, 2).
        """
        examples, slots = np.nonzero(batch.weights)
        with torch.inference_mode():
            output = self.network.albert(
                self._tensor(batch.ids),
                attention_mask=self._tensor(batch.mask),
                token_type_ids=self._tensor(batch.segments),
            )
            order = self.network.sop_classifier(output.pooler_output).log_softmax(-1)
            places = examples, batch.positions[examples, slots]
            predictions = self._predict(output.last_hidden_state, places, batch.labels[examples, slots])
        return predictions, order.cpu().numpy()

    def predict_masked(self, rows: list[tuple[list[int], int]]) -> Predictions:
        """Predictions for one token of each row, which is masked. rows: (ids with [CLS] and [SEP], position)."""
        ids = np.full((len(rows), max(len(ids) for ids, _ in rows)), self.tokenizer.pad_token_id)
        mask = np.zeros(ids.shape)
        for number, (row, _) in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        places = np.arange(len(rows)), np.array([position for _, position in rows])
        labels = ids[places]
        ids[places] = self.tokenizer.mask_token_id
        with torch.inference_mode():
            output = self.network.albert(self._tensor(ids), attention_mask=self._tensor(mask))
            return self._predict(output.last_hidden_state, places, labels)

    def _predict(self, states: torch.Tensor, places: tuple[NDArray[Any], ...], labels: NDArray[Any]) -> Predictions:
        """The masked LM head's predictions for hidden states (B, L, H) at n places, and the losses of `labels` (n,)."""
        hidden = states[tuple(map(self._tensor, places))]
        parts = []
        for some, targets in zip(hidden.split(_CHUNK), self._tensor(labels).split(_CHUNK), strict=True):
            logs = self.network.predictions(some).log_softmax(-1)
            best = logs.topk(TOP)
            losses = -logs.gather(1, targets[:, None])[:, 0]
            parts.append([tensor.cpu().numpy() for tensor in (losses, best.indices, best.values.exp())])
        return Predictions(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self.device)

    def token_losses(
        self, sentences: list[list[int]], tokens: int, progress: Callable[[int], None]
    ) -> list[NDArray[np.floating]]:
        """The loss in nats of each token, when it alone is masked: an array for each sentence.

        sentences: ids with [CLS] and [SEP], which are never masked. tokens: of a batch, with padding. `progress` is
        called with the number of tokens masked since the last call.
        """
        losses: list[NDArray[np.floating]] = [np.zeros(len(ids) - 2) for ids in sentences]
        for batch in _batches(sentences, tokens):
            predictions = self.predict_masked([(sentences[number], position) for number, position in batch])
            for (number, position), loss in zip(batch, predictions.losses.tolist(), strict=True):
                losses[number][position - 1] = loss
            progress(len(batch))
        return losses


def _batches(sentences: list[list[int]], tokens: int) -> Iterator[list[tuple[int, int]]]:
    """Batches of (sentence, position): every token of every sentence once, in order of the sentences' lengths.

    A batch has at most `tokens` tokens with padding, or one row.
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
