"""Models, held-out TFRecords, held-out sentences → every number of the report, as one JSON value."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stages.command.progress import Progress
from stages.command.refusal import Refusal
from stages.evaluate import filling, sentences
from stages.evaluate.baselines import Baseline, Neighbours, Unigram, predict_batch, unmasked_text
from stages.evaluate.models import Model
from stages.evaluate.options import Options
from stages.evaluate.scores import MaskedScores, OrderScores
from stages.formats.batches import Batch, DynamicMasking, held_out
from stages.formats.corpus import documents
from stages.formats.model_folder import ModelFolder
from stages.formats.shards import Shards
from stages.formats.windows import LENGTH, MASKED, held_out_evaluation
from stages.handover.manifests import read_manifest

# Held-out sentences in the report with a gap, and with the loss of each of their tokens.
SAMPLES = 5
# Examples of one read, independent of --batch: masks that are made while reading depend on it.
READ = 64
SEED = 0
MODEL, OTHER, UNIGRAM, NEIGHBOURS = "model", "other", "unigram", "neighbours"


def evaluate(
    folders: dict[str, ModelFolder], shards: Shards, files: list[tuple[str, Any]], options: Options, device: str
) -> dict[str, Any]:
    """Every number of the report.

    folders: MODEL, maybe OTHER. files: those of the corpus with the held-out text; none without a corpus.
    """
    batch, entries = options.batch, len(folders[MODEL].entries)
    models = {name: Model(folder, device) for name, folder in folders.items()}
    # Other models cannot predict the tokens of the TFRecords.
    comparable = {name: each for name, each in models.items() if each.folder.vocabulary == shards.vocabulary}
    masking = _masking(shards, folders[MODEL].entries)

    def records(names: list[str], count: int, masking: DynamicMasking | None) -> Iterator[Batch]:
        reads = math.ceil(count / READ)
        batches = held_out(shards.paths(names), shards.seq_length, shards.max_predictions, READ, reads, masking)
        return _first(batches, count, batch)

    def held_out_records() -> Iterator[Batch]:
        return records(shards.held_out, options.examples, masking)

    neighbours = Neighbours(unmasked_text(records(shards.train, options.baseline_records, None)), entries)
    unigram = Unigram(neighbours.counts)
    baselines: dict[str, Baseline] = {UNIGRAM: unigram, NEIGHBOURS: neighbours}
    order = OrderScores(list(comparable))
    progress = Progress("evaluate", "examples", min(options.examples, shards.held_out_examples))
    masked = _masked_scores(comparable, baselines, held_out_records(), order, progress.add)
    progress.close()

    # The efficient recipe's own evaluation, with the same number of tokens in a batch.
    length = min(LENGTH, shards.seq_length)
    size = max(1, batch * shards.seq_length // length)
    windows = _masked_scores(comparable, baselines, _first(held_out_evaluation(shards, entries, length), 10**9, size))

    tokenizers = {name: each.tokenizer for name, each in models.items()}
    tokenizer = tokenizers[MODEL]
    if options.corpus:
        articles = (documents(options.corpus, name, description) for name, description in files)
        texts: Iterator[str] = (sentence for article in itertools.chain.from_iterable(articles) for sentence in article)
    else:
        texts = sentences.from_records(held_out_records(), tokenizer)
    longest = min(shards.seq_length, *(folder.settings["max_position_embeddings"] for folder in folders.values()))
    chosen, left_out = sentences.choose(texts, options.sentences, tokenizers, longest)
    if not chosen:
        raise Refusal(
            f"no held-out sentence of {sentences.SHORTEST} characters or more has at most {longest} tokens and no "
            f"[UNK]; give the sentences with --corpus, or more --examples"
        )
    chosen_texts = list(chosen)
    ids = {name: [sentence[name] for sentence in chosen.values()] for name in models}
    total = sum(len(row) - 2 for rows in ids.values() for row in rows)
    progress = Progress("evaluate", "sentences' tokens, each masked in turn", total)
    tokens = batch * shards.seq_length
    losses = {name: each.token_losses(ids[name], tokens, progress.add) for name, each in models.items()}
    progress.close()
    arrays = [np.array(row, np.int32) for row in ids[MODEL]]
    for name, baseline in baselines.items():
        losses[name] = [baseline.predict(row[:-2], row[2:], row[1:-1]).losses for row in arrays]

    filled = {name: filling.fill_cloze(each) for name, each in models.items()}
    for name, each in comparable.items():
        filled[name] += filling.fill_sentences(each, dict(zip(chosen_texts, ids[MODEL], strict=True)), SAMPLES)
    return {
        **{
            name: {**each.description(), "vocabulary_of_tfrecords": name in comparable} for name, each in models.items()
        },
        "data": {
            "held_out_files": len(shards.held_out),
            "held_out_examples": shards.held_out_examples,
            "examples": order.ratios.units,
            "seq_length": shards.seq_length,
            "baseline_tokens": unigram.tokens,
            "sentences_of": "corpus" if options.corpus else "tfrecords",
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
        "pseudo_perplexity": {name: sentences.pseudo_perplexity(each, chosen_texts) for name, each in losses.items()},
        "calibration": {name: each.as_json() for name, each in masked.calibration.items()},
        "cloze": {name: filling.cloze_scores(each) for name, each in filled.items()},
        "filled": filled,
        "token_losses": [
            [
                [token, loss]
                for token, loss in zip(tokenizer.convert_ids_to_tokens(row[1:-1]), each.tolist(), strict=True)
            ]
            for row, each in zip(ids[MODEL][:SAMPLES], losses[MODEL], strict=False)
        ],
    }


def _masking(shards: Shards, entries: list[str]) -> DynamicMasking | None:
    """The masking of examples that were written without masks: that of tfrecords, the same at every call."""
    options = read_manifest(shards.folder, "tfrecords")["options"]
    if not options.get("unmasked"):
        return None
    numbers = {entry: number for number, entry in enumerate(entries)}
    sequence, predictions, probability, ngram = (
        options[name] for name in ("seq_length", "max_predictions", "masked_lm_prob", "ngram")
    )
    return DynamicMasking(numbers, sequence, predictions, probability, ngram, SEED)


def _first(batches: Iterator[Batch], count: int, size: int) -> Iterator[Batch]:
    """The first `count` examples, in batches of `size`."""
    for batch in batches:
        examples = batch.rows(slice(count))
        for first in range(0, len(examples.ids), size):
            yield examples.rows(slice(first, first + size))
        count -= len(examples.ids)
        if count <= 0:
            return


def _masked_scores(
    models: dict[str, Model],
    baselines: dict[str, Baseline],
    batches: Iterator[Batch],
    order: OrderScores | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> MaskedScores:
    """The scores of masked tokens. Scores of the sentence order are added to `order`, if there is one.

    `progress` is called with the number of examples since the last call.
    """
    scores = MaskedScores(models[MODEL].folder.entries, [*models, *baselines])
    for batch in batches:
        predictions, logs = zip(*(each.predict_batch(batch) for each in models.values()), strict=True)
        scores.add(batch, *predictions, *(predict_batch(each, batch) for each in baselines.values()))
        if order:
            order.add(batch, list(logs))
        progress(len(batch.ids))
    return scores
