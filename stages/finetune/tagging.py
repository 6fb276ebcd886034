"""Tokens → a label for each, chosen as a sequence: a layer over all hidden states of ALBERT, and scores of transitions.

A linear-chain conditional random field (Lafferty et al. 2001) on a network, as in Lample et al. (2016). An I that
continues nothing is impossible, in training as well. The layer reads the states of all depths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AlbertConfig, AlbertModel, AlbertPreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from stages.finetune.entities import possible
from stages.finetune.inputs import IGNORED
from stages.words.japanese_subwords import SPECIAL_TOKENS

# Of the training's tokens, this share is hidden, and of what the layer reads, this share is dropped: the few thousand
# sentences there are would else be learned by heart. F1 of one model on ner-wikipedia: 0.661 without, 0.672 with both.
MASKED, DROPPED = 0.15, 0.2
MASK = SPECIAL_TOKENS.index("[MASK]")
# In place of -inf, of which no gradient can be taken.
BARRED = -1e4


class AlbertTagger(AlbertPreTrainedModel):
    """ALBERT with the labels of `config.id2label`; a folder of it loads by `AlbertTagger.from_pretrained`."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.albert = AlbertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear((config.num_hidden_layers + 1) * config.hidden_size, config.num_labels)
        self.dropout = nn.Dropout(DROPPED)
        self.first = nn.Parameter(torch.zeros(config.num_labels))
        self.transitions = nn.Parameter(torch.zeros(config.num_labels, config.num_labels))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            nn.init.zeros_(self.first)
            nn.init.zeros_(self.transitions)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> TokenClassifierOutput:
        """Logits (B, L, labels), to be read by `scores` and `best_tags`; all three inputs (B, L).

        The loss with `labels` (B, L), IGNORED for [CLS] and behind the text: the negative logarithm of the probability
        of the sequences, by token.
        """
        if self.training:
            drawn = torch.rand(input_ids.shape, device=input_ids.device) < MASKED
            input_ids = input_ids.masked_fill(drawn & (input_ids >= len(SPECIAL_TOKENS)), MASK)
        states = self.albert(input_ids, attention_mask, token_type_ids, output_hidden_states=True).hidden_states
        logits = self.classifier(self.dropout(torch.cat(states, -1))).float()
        loss = None if labels is None else sequence_loss(logits[:, 1:], labels[:, 1:], *self._scores())
        return TokenClassifierOutput(loss=loss, logits=logits)

    def _scores(self) -> tuple[Tensor, Tensor]:
        first, following = (torch.from_numpy(allowed).to(self.first.device) for allowed in possible(_labels(self)))
        return self.first.masked_fill(~first, BARRED), self.transitions.masked_fill(~following, BARRED)

    def scores(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of each label as the first one (labels,), and of each label behind each (labels, labels)."""
        first, following = self._scores()
        return first.detach().cpu().numpy(), following.detach().cpu().numpy()


def _labels(model: Any) -> Sequence[str]:
    return [model.config.id2label[number] for number in range(model.config.num_labels)]


def sequence_loss(logits: Tensor, labels: Tensor, first: Tensor, following: Tensor) -> Tensor:
    """-log P(labels) of all sequences, divided by their tokens.

    logits: (B, L, T); labels: (B, L), IGNORED behind a sequence's end. first (T,), following (T, T): scores of a label
    at the start, and of a label (column) behind another (row).
    """
    real = labels != IGNORED
    given = labels.masked_fill(~real, 0)
    score = (logits.gather(2, given[..., None])[..., 0] * real).sum() + (first[given[:, 0]] * real[:, 0]).sum()
    score = score + (following[given[:, :-1], given[:, 1:]] * real[:, 1:]).sum()
    # The logarithm of the summed probabilities of all ways to each label.
    ways = first + logits[:, 0]
    for place in range(1, logits.shape[1]):
        longer = torch.logsumexp(ways[:, :, None] + following, 1) + logits[:, place]
        ways = torch.where(real[:, place, None], longer, ways)
    return ((torch.logsumexp(ways, 1) * real[:, 0]).sum() - score) / real.sum().clamp(min=1)
