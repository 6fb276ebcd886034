"""Models, held-out TFRecords, held-out sentences → every number of the report, as one JSON value."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stages.command.progress import Progress
from stages.command.refusal import Refusal
from stages.evaluate import baseline, filling, pseudo_perplexity, sentences
from stages.evaluate.files import held_out_corpus
from stages.evaluate.neighbours import Neighbours
from stages.evaluate.options import Options
from stages.evaluate.predictions import load, of_batch
from stages.evaluate.scores import MaskedScores, OrderScores
from stages.formats.batches import Batch, DynamicMasking, held_out
from stages.formats.model_folder import ModelFolder
from stages.formats.shards import Shards
from stages.formats.yardstick import LENGTH, MASKED, yardstick
from stages.handover.manifests import read_manifest
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer
from stages.words.tokenizer_class import read_tokenizer_class

# Held-out sentences shown with a gap in them, and with what each of their tokens costs.
SHOWN = 5
# Examples that are read together, whatever --batch says: masks that are made while reading depend on it.
READ = 64
SEED = 0
MODEL, UNIGRAM, NEIGHBOURS, OTHER = "model", "unigram", "neighbours", "other"


@dataclasses.dataclass(frozen=True)
class _Model:
    """A loaded model. `compared`: whether it has the vocabulary of the TFRecords."""

    folder: ModelFolder
    model: Any
    tokenizer: BertJapaneseTinySegmenterTokenizer
    compared: bool


@dataclasses.dataclass(frozen=True)
class _Systems:
    """All that predicts masked tokens of the TFRecords: the models of their vocabulary, and the baselines."""

    models: list[_Model]
    unigram: baseline.Unigram
    neighbours: Neighbours

    def scores(
        self,
        batches: Iterator[Batch],
        order: OrderScores | None = None,
        done: Callable[[int], None] = lambda count: None,
    ) -> MaskedScores:
        """The scores of masked tokens; those of the sentence order are added to `order`, if there is one.

        `done` is called with the number of examples since the last call.
        """
        systems = [MODEL, UNIGRAM, NEIGHBOURS, OTHER][: 2 + len(self.models)]
        entries = self.models[0].folder.entries
        masked = MaskedScores(entries, entries.index("[MASK]"), systems)
        for batch in batches:
            made = [of_batch(each.model, batch) for each in self.models]
            baselines = [self.unigram.of_batch(batch), baseline.of_batch(self.neighbours, batch)]
            masked.add(batch, made[0][0], [*baselines, *((other.losses, other.best) for other, _ in made[1:])])
            if order:
                order.add(batch, [logs for _, logs in made])
            done(len(batch.ids))
        return masked


def evaluate(
    folder: ModelFolder,
    other: ModelFolder | None,
    shards: Shards,
    options: Options,
    device: str,
) -> dict[str, Any]:
    """Every number of the report."""
    batch, corpus = options.batch, options.corpus
    models = [_opened(each, device, shards.vocabulary) for each in (folder, other) if each is not None]
    held = shards.paths(shards.held_out)

    masking = _masking(shards, folder.entries)

    def records(paths: list[str], most: int, masking: DynamicMasking | None) -> Iterator[Batch]:
        read = held_out(paths, shards.seq_length, shards.max_predictions, READ, math.ceil(most / READ), masking)
        return _first(read, most, batch)

    text = baseline.text(records(shards.paths(shards.train), options.baseline_records, None))
    neighbours = Neighbours(text, len(folder.entries))
    unigram = baseline.Unigram(neighbours.counts)
    systems = _Systems([each for each in models if each.compared], unigram, neighbours)
    order = OrderScores([MODEL, OTHER][: len(systems.models)])
    progress = Progress("evaluate", "examples", min(options.examples, shards.held_out_examples))
    masked = systems.scores(records(held, options.examples, masking), order, progress.add)
    progress.close()

    # The efficient recipe's own evaluation, with as many tokens in a batch as above.
    length = min(LENGTH, shards.seq_length)
    together = max(1, batch * shards.seq_length // length)
    windows = systems.scores(_first(yardstick(shards, len(folder.entries), length), 10**9, together))

    texts = (
        sentences.from_corpus(corpus, held_out_corpus(corpus, shards))
        if corpus
        else sentences.from_records(records(held, options.examples, masking), models[0].tokenizer)
    )
    longest = min(shards.seq_length, *(each.folder.settings["max_position_embeddings"] for each in models))
    chosen, left_out = sentences.choose(texts, options.sentences, [each.tokenizer for each in models], longest)
    if not chosen:
        raise Refusal(
            f"no held-out sentence of {sentences.SHORTEST} characters or more has at most {longest} tokens and no "
            f"[UNK]; give the sentences with --corpus, or more --examples"
        )
    losses = _token_losses(models, chosen, batch * shards.seq_length)
    ids = [np.array(sentence.ids[0], np.int32) for sentence in chosen]
    losses[UNIGRAM] = [unigram.losses[row[1:-1]] for row in ids]
    losses[NEIGHBOURS] = [neighbours.predict(row[:-2], row[2:], row[1:-1])[0] for row in ids]

    gaps = [filling.cloze(each.tokenizer) for each in models]
    shown = filling.held_out(chosen, models[0].tokenizer, SHOWN)
    filled = {
        name: filling.fill(each.model, each.tokenizer, own + shown * each.compared)
        for name, each, own in zip((MODEL, OTHER), models, gaps, strict=False)
    }
    texts_of = [sentence.text for sentence in chosen]
    return {
        **{name: _about(each) for name, each in zip((MODEL, OTHER), models, strict=False)},
        "data": {
            "held_out_files": len(shards.held_out),
            "held_out_examples": shards.held_out_examples,
            "examples": order.ratios.units,
            "seq_length": shards.seq_length,
            "baseline_tokens": unigram.tokens,
            "sentences_of": "corpus" if corpus else "tfrecords",
            "sentences": len(chosen),
            "characters": sum(map(len, texts_of)),
            "sentences_left_out": left_out,
        },
        "masked_lm": masked.described(),
        "masked_windows": {
            "tokens": length,
            "masked_share": MASKED,
            "windows": windows.ratios.units,
            **windows.described()[0],
        },
        "sentence_order": order.described(),
        "pseudo_perplexity": {name: pseudo_perplexity.described(each, texts_of) for name, each in losses.items()},
        "calibration": {name: each.described() for name, each in masked.calibration.items()},
        "cloze": {name: filling.cloze_scores(each) for name, each in filled.items()},
        "filled": filled,
        "token_losses": _shown_losses(chosen, losses[MODEL], models[0].tokenizer),
    }


def _opened(folder: ModelFolder, device: str, vocabulary: str | None) -> _Model:
    return _Model(folder, load(folder, device), read_tokenizer_class(folder.path), folder.vocabulary == vocabulary)


def _masking(shards: Shards, entries: list[str]) -> DynamicMasking | None:
    """How examples that were written without masks are masked: as tfrecords does it, the same at every call."""
    made = read_manifest(shards.folder, "tfrecords")["options"]
    if not made.get("unmasked"):
        return None
    numbers = {entry: number for number, entry in enumerate(entries)}
    return DynamicMasking(
        numbers, made["seq_length"], made["max_predictions"], made["masked_lm_prob"], made["ngram"], SEED
    )


def _first(batches: Iterator[Batch], most: int, size: int) -> Iterator[Batch]:
    """The first `most` examples, `size` at a time."""
    for batch in batches:
        whole = batch.rows(slice(most))
        for first in range(0, len(whole.ids), size):
            yield whole.rows(slice(first, first + size))
        most -= len(whole.ids)
        if most <= 0:
            return


def _token_losses(models: list[_Model], chosen: list[sentences.Sentence], together: int) -> dict[str, Any]:
    """The losses of each sentence's tokens by each model."""
    total = sum(sentences.tokens_of(chosen, number).sum() for number in range(len(models)))
    progress = Progress("evaluate", "sentences' tokens, each masked in turn", int(total))
    losses = {}
    for number, (name, each) in enumerate(zip((MODEL, OTHER), models, strict=False)):
        losses[name] = pseudo_perplexity.token_losses(
            each.model,
            [sentence.ids[number] for sentence in chosen],
            each.tokenizer.mask_token_id,
            each.tokenizer.pad_token_id,
            together,
            progress.add,
        )
    progress.close()
    return losses


def _about(each: _Model) -> dict[str, Any]:
    settings = each.folder.settings
    return {
        "name": each.folder.name,
        "parameters": sum(parameter.numel() for parameter in each.model.parameters()),
        "layers": settings["num_hidden_layers"],
        "hidden": settings["hidden_size"],
        "entries": len(each.folder.entries),
        "subwords": each.tokenizer.subword_tokenizer_type,
        "vocabulary_of_tfrecords": each.compared,
    }


def _shown_losses(
    chosen: list[sentences.Sentence], losses: list[Any], tokenizer: BertJapaneseTinySegmenterTokenizer
) -> list[list[list[Any]]]:
    """`[[token, loss in nats], …]` of the first sentences."""
    shown = []
    for sentence, costs in list(zip(chosen, losses, strict=True))[:SHOWN]:
        tokens: Any = tokenizer.convert_ids_to_tokens(sentence.ids[0][1:-1])
        shown.append([[token, cost] for token, cost in zip(tokens, costs.tolist(), strict=True)])
    return shown
