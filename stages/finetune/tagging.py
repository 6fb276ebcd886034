"""Tokens → a sequence of labels: a linear layer over the hidden states of all layers of ALBERT, and transition scores.

A linear-chain conditional random field (Lafferty et al. 2001) on a network, as in Lample et al. (2016). An I that
continues nothing is impossible, in training as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AlbertConfig, AlbertModel, AlbertPreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from stages.finetune.entities import tag_constraints
from stages.finetune.inputs import IGNORED
from stages.words.japanese_subwords import SPECIAL_TOKENS

# In training, the share of tokens that [MASK] replaces, and the dropout of the layer's inputs. Without both, the model
# overfits the few thousand sentences. F1 of one model on ner-wikipedia: 0.661 without, 0.672 with both.
MASKED, DROPOUT = 0.15, 0.2
MASK = SPECIAL_TOKENS.index("[MASK]")
# The score of impossible transitions; -inf has no gradient.
IMPOSSIBLE = -1e4


class AlbertTagger(AlbertPreTrainedModel):
    """ALBERT with the labels of `config.id2label`; `AlbertTagger.from_pretrained` loads its folder."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.albert = AlbertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear((config.num_hidden_layers + 1) * config.hidden_size, config.num_labels)
        self.dropout = nn.Dropout(DROPOUT)
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
        """Logits (B, L, labels) for `best_tags` with `scores`; all three inputs (B, L).

        With `labels` (B, L), IGNORED for [CLS] and behind the text: also the `sequence_loss`.
        """
        if self.training:
            masked = torch.rand(input_ids.shape, device=input_ids.device) < MASKED
            input_ids = input_ids.masked_fill(masked & (input_ids >= len(SPECIAL_TOKENS)), MASK)
        states = self.albert(input_ids, attention_mask, token_type_ids, output_hidden_states=True).hidden_states
        logits = self.classifier(self.dropout(torch.cat(states, -1))).float()
        loss = None if labels is None else sequence_loss(logits[:, 1:], labels[:, 1:], *self._scores())
        return TokenClassifierOutput(loss=loss, logits=logits)

    def _scores(self) -> tuple[Tensor, Tensor]:
        config: Any = self.config
        labels = [config.id2label[number] for number in range(config.num_labels)]
        first, transitions = (torch.from_numpy(mask).to(self.first.device) for mask in tag_constraints(labels))
        return self.first.masked_fill(~first, IMPOSSIBLE), self.transitions.masked_fill(~transitions, IMPOSSIBLE)

    def scores(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The scores of each label as the first one (labels,), and of transitions (label, next label)."""
        first, transitions = self._scores()
        return first.detach().cpu().numpy(), transitions.detach().cpu().numpy()


def sequence_loss(logits: Tensor, labels: Tensor, first: Tensor, transitions: Tensor) -> Tensor:
    """-ln P(labels) of all sequences, divided by their tokens.

    logits: (B, L, T); labels: (B, L), IGNORED behind a sequence's end. first (T,), transitions (T, T): scores of the
    first label, and of a label (row) before another (column).
    """
    valid = labels != IGNORED
    tags = labels.masked_fill(~valid, 0)
    score = (logits.gather(2, tags[..., None])[..., 0] * valid).sum() + (first[tags[:, 0]] * valid[:, 0]).sum()
    score = score + (transitions[tags[:, :-1], tags[:, 1:]] * valid[:, 1:]).sum()
    # The forward algorithm: ln Σ exp(score) of all sequences up to each label.
    totals = first + logits[:, 0]
    for position in range(1, logits.shape[1]):
        longer = torch.logsumexp(totals[:, :, None] + transitions, 1) + logits[:, position]
        totals = torch.where(valid[:, position, None], longer, totals)
    return ((torch.logsumexp(totals, 1) * valid[:, 0]).sum() - score) / valid.sum().clamp(min=1)
