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
from stages.evaluate.predictions import load_model, predict_batch
from stages.evaluate.scores import MaskedScores, OrderScores
from stages.formats.batches import Batch, DynamicMasking, held_out
from stages.formats.model_folder import ModelFolder
from stages.formats.shards import Shards
from stages.formats.yardstick import LENGTH, MASKED, yardstick
from stages.handover.manifests import read_manifest
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer
from stages.words.tokenizer_class import read_tokenizer_class

# Held-out sentences in the report with a gap, and with the loss of each of their tokens.
SAMPLES = 5
# Examples of one read, independent of --batch: masks that are made while reading depend on it.
READ = 64
SEED = 0
MODEL, UNIGRAM, NEIGHBOURS, OTHER = "model", "unigram", "neighbours", "other"


@dataclasses.dataclass(frozen=True)
class _Model:
    """A loaded model. `same_vocabulary`: whether it has the vocabulary of the TFRecords."""

    folder: ModelFolder
    model: Any
    tokenizer: BertJapaneseTinySegmenterTokenizer
    same_vocabulary: bool


@dataclasses.dataclass(frozen=True)
class _Systems:
    """The systems that predict masked tokens of the TFRecords: the models of their vocabulary, and the baselines."""

    models: list[_Model]
    unigram: baseline.Unigram
    neighbours: Neighbours

    def scores(
        self,
        batches: Iterator[Batch],
        order: OrderScores | None = None,
        progress: Callable[[int], None] = lambda count: None,
    ) -> MaskedScores:
        """The scores of masked tokens. Scores of the sentence order are added to `order`, if there is one.

        `progress` is called with the number of examples since the last call.
        """
        systems = [MODEL, UNIGRAM, NEIGHBOURS, OTHER][: 2 + len(self.models)]
        entries = self.models[0].folder.entries
        masked = MaskedScores(entries, entries.index("[MASK]"), systems)
        for batch in batches:
            (model, *others), logs = zip(*(predict_batch(each.model, batch) for each in self.models), strict=True)
            baselines = [self.unigram.predict_batch(batch), baseline.predict_batch(self.neighbours, batch)]
            masked.add(batch, model, [*baselines, *((other.losses, other.best) for other in others)])
            if order:
                order.add(batch, list(logs))
            progress(len(batch.ids))
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
    models = {name: _load(each, device, shards) for name, each in ((MODEL, folder), (OTHER, other)) if each is not None}
    model = models[MODEL]
    masking = _masking(shards, folder.entries)

    def records(paths: list[str], count: int, masking: DynamicMasking | None) -> Iterator[Batch]:
        batches = held_out(paths, shards.seq_length, shards.max_predictions, READ, math.ceil(count / READ), masking)
        return _first(batches, count, batch)

    def held_out_records() -> Iterator[Batch]:
        return records(shards.paths(shards.held_out), options.examples, masking)

    text = baseline.unmasked_text(records(shards.paths(shards.train), options.baseline_records, None))
    neighbours = Neighbours(text, len(folder.entries))
    unigram = baseline.Unigram(neighbours.counts)
    systems = _Systems([each for each in models.values() if each.same_vocabulary], unigram, neighbours)
    order = OrderScores([MODEL, OTHER][: len(systems.models)])
    progress = Progress("evaluate", "examples", min(options.examples, shards.held_out_examples))
    masked = systems.scores(held_out_records(), order, progress.add)
    progress.close()

    # The efficient recipe's own evaluation, with the same number of tokens in a batch.
    length = min(LENGTH, shards.seq_length)
    size = max(1, batch * shards.seq_length // length)
    windows = systems.scores(_first(yardstick(shards, len(folder.entries), length), 10**9, size))

    texts = (
        sentences.from_corpus(corpus, held_out_corpus(corpus, shards))
        if corpus
        else sentences.from_records(held_out_records(), model.tokenizer)
    )
    positions = [each.folder.settings["max_position_embeddings"] for each in models.values()]
    longest = min(shards.seq_length, *positions)
    chosen, left_out = sentences.choose(texts, options.sentences, [each.tokenizer for each in models.values()], longest)
    if not chosen:
        raise Refusal(
            f"no held-out sentence of {sentences.SHORTEST} characters or more has at most {longest} tokens and no "
            f"[UNK]; give the sentences with --corpus, or more --examples"
        )
    losses = _token_losses(models, chosen, batch * shards.seq_length)
    ids = [np.array(sentence.ids[0], np.int32) for sentence in chosen]
    losses[UNIGRAM] = [unigram.losses[row[1:-1]] for row in ids]
    losses[NEIGHBOURS] = [neighbours.predict(row[:-2], row[2:], row[1:-1])[0] for row in ids]

    gaps = filling.sentence_gaps(chosen, model.tokenizer, SAMPLES)
    filled = {}
    for name, each in models.items():
        cloze = filling.cloze_gaps(each.tokenizer)
        filled[name] = filling.fill(each.model, each.tokenizer, cloze + gaps * each.same_vocabulary)
    chosen_texts = [sentence.text for sentence in chosen]
    return {
        **{name: _description(each) for name, each in models.items()},
        "data": {
            "held_out_files": len(shards.held_out),
            "held_out_examples": shards.held_out_examples,
            "examples": order.ratios.units,
            "seq_length": shards.seq_length,
            "baseline_tokens": unigram.tokens,
            "sentences_of": "corpus" if corpus else "tfrecords",
            "sentences": len(chosen),
            "characters": sum(map(len, chosen_texts)),
            "sentences_left_out": left_out,
        },
        "masked_lm": masked.as_json(),
        "masked_windows": {
            "tokens": length,
            "masked_share": MASKED,
            "windows": windows.ratios.units,
            **windows.as_json()[0],
        },
        "sentence_order": order.as_json(),
        "pseudo_perplexity": {name: pseudo_perplexity.as_json(each, chosen_texts) for name, each in losses.items()},
        "calibration": {name: each.as_json() for name, each in masked.calibration.items()},
        "cloze": {name: filling.cloze_scores(each) for name, each in filled.items()},
        "filled": filled,
        "token_losses": _sample_losses(chosen, losses[MODEL], model.tokenizer),
    }


def _load(folder: ModelFolder, device: str, shards: Shards) -> _Model:
    same = folder.vocabulary == shards.vocabulary
    return _Model(folder, load_model(folder, device), read_tokenizer_class(folder.path), same)


def _masking(shards: Shards, entries: list[str]) -> DynamicMasking | None:
    """The masking of examples that were written without masks: that of tfrecords, the same at every call."""
    options = read_manifest(shards.folder, "tfrecords")["options"]
    if not options.get("unmasked"):
        return None
    numbers = {entry: number for number, entry in enumerate(entries)}
    return DynamicMasking(
        numbers,
        options["seq_length"],
        options["max_predictions"],
        options["masked_lm_prob"],
        options["ngram"],
        SEED,
    )


def _first(batches: Iterator[Batch], count: int, size: int) -> Iterator[Batch]:
    """The first `count` examples, in batches of `size`."""
    for batch in batches:
        examples = batch.rows(slice(count))
        for first in range(0, len(examples.ids), size):
            yield examples.rows(slice(first, first + size))
        count -= len(examples.ids)
        if count <= 0:
            return


def _token_losses(models: dict[str, _Model], chosen: list[sentences.Sentence], tokens: int) -> dict[str, Any]:
    """Model → the losses of each sentence's tokens. tokens: of a batch."""
    total = sum(len(ids) - 2 for sentence in chosen for ids in sentence.ids)
    progress = Progress("evaluate", "sentences' tokens, each masked in turn", total)
    losses = {}
    for number, (name, each) in enumerate(models.items()):
        ids = [sentence.ids[number] for sentence in chosen]
        losses[name] = pseudo_perplexity.token_losses(each.model, each.tokenizer, ids, tokens, progress.add)
    progress.close()
    return losses


def _description(each: _Model) -> dict[str, Any]:
    settings = each.folder.settings
    return {
        "name": each.folder.name,
        "parameters": sum(parameter.numel() for parameter in each.model.parameters()),
        "layers": settings["num_hidden_layers"],
        "hidden": settings["hidden_size"],
        "entries": len(each.folder.entries),
        "subwords": each.tokenizer.subword_tokenizer_type,
        "vocabulary_of_tfrecords": each.same_vocabulary,
    }


def _sample_losses(
    chosen: list[sentences.Sentence], losses: list[Any], tokenizer: BertJapaneseTinySegmenterTokenizer
) -> list[list[list[Any]]]:
    """`[[token, loss in nats], …]` of the first SAMPLES sentences."""
    samples = []
    for sentence, values in zip(chosen[:SAMPLES], losses, strict=False):
        tokens: Any = tokenizer.convert_ids_to_tokens(sentence.ids[0][1:-1])
        samples.append([[token, loss] for token, loss in zip(tokens, values.tolist(), strict=True)])
    return samples
