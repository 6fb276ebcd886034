"""The efficient recipe: windows and their masks, the neighbour start, resumed runs that equal undisturbed ones."""

import hashlib
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.formats.batches import Batch, unmasked
from stages.formats.decoding import Chunk
from stages.formats.windows import CLS, MASK, NO_ORDER, SEP, masked_examples, masked_windows, windows
from tests.conftest import Run
from tests.train.conftest import Program
from tests.train.test_command import begun, inputs, rows, same_run

__all__ = ["inputs"]


def chunk(lengths: list[tuple[int, int]], sequence: int = 64) -> Chunk:
    """Whole examples, `[CLS] A [SEP] B [SEP]`, of ids from 10 on that rise through all of them."""
    ids = np.zeros((len(lengths), sequence), np.int32)
    mask, segments, starts = (np.zeros((len(lengths), sequence), np.uint8) for _ in range(3))
    first = 10
    for row, (a, b) in enumerate(lengths):
        text = [CLS, *range(first, first + a), SEP, *range(first + a, first + a + b), SEP]
        first += a + b
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
        segments[row, a + 2 : len(text)] = 1
        starts[row, : len(text)] = np.arange(len(text)) % 2 == 1
    nothing = np.zeros((len(lengths), 4), np.int32)
    return Chunk(ids, mask, segments, starts, nothing, nothing, nothing.astype(np.float32), np.ones(len(ids), np.int32))


pairs = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=6)


@given(pairs, st.integers(4, 40))
def test_windows_hold_the_texts_in_order(lengths: list[tuple[int, int]], length: int) -> None:
    given_text = chunk(lengths)
    ids, _ = windows(given_text, length)
    text = given_text.ids[(given_text.mask > 0) & (given_text.ids != CLS)]
    assert (ids[:, 0] == CLS).all()
    found = ids[:, 1:].reshape(-1)
    assert len(ids) >= 1
    assert found.tolist() == text[: len(found)].tolist()
    assert len(text) - len(found) < length - 1


def masked(examples: Chunk, full: bool, rate: float, words: float, seed: int) -> Batch:
    generator = np.random.default_rng(seed)
    if full:
        return masked_examples(examples, rate, words, generator)
    return masked_windows(examples, 16, rate, words, generator)


@given(pairs, st.floats(0.01, 0.9), st.integers(0, 9), st.booleans())
def test_whole_words_are_masked_and_specials_never(
    lengths: list[tuple[int, int]], rate: float, seed: int, full: bool
) -> None:
    examples = chunk(lengths)
    batch = masked(examples, full, rate, 1, seed)
    ids, starts = (examples.ids, examples.starts > 0) if full else windows(examples, 16)
    chosen = batch.ids != ids
    assert chosen.any()
    assert (batch.ids[chosen] == MASK).all()
    assert not np.isin(ids[chosen], [CLS, SEP, 0]).any()
    examples_of, slots = np.nonzero(batch.weights)
    places = batch.positions[examples_of, slots]
    assert sorted(zip(examples_of, places, strict=True)) == sorted(zip(*np.nonzero(chosen), strict=True))
    assert (batch.labels[examples_of, slots] == ids[examples_of, places]).all()
    # A token behind the first one of its word shares its fate.
    inside = ~starts[:, 1:] & ~np.isin(ids[:, :-1], [CLS, SEP]) & ~np.isin(ids[:, 1:], [CLS, SEP, 0])
    assert (chosen[:, 1:] == chosen[:, :-1])[inside].all()
    assert (batch.swapped == (examples.swapped if full else NO_ORDER)).all()


@pytest.mark.parametrize("full", [True, False])
def test_a_share_of_the_rows_is_masked_by_whole_words_and_the_others_by_tokens(full: bool) -> None:
    examples = chunk([(30, 30)] * 500)
    batch = masked(examples, full, 0.3, 0.25, 1)
    starts = examples.starts > 0 if full else windows(examples, 16)[1]
    chosen = batch.ids == MASK
    inside = ~starts[:, 1:] & ~np.isin(batch.ids[:, :-1], [CLS, SEP]) & ~np.isin(batch.ids[:, 1:], [CLS, SEP, 0])
    cut = ((chosen[:, 1:] != chosen[:, :-1]) & inside).sum(1)
    # 0.42 of the pairs inside words are cut where tokens are masked: rows of 20 and more have one.
    assert (cut > 0).mean() == pytest.approx(0.75 if full else 0.75 * (1 - 0.58**7), abs=0.06)


@pytest.mark.parametrize("words", [0, 1])
def test_the_masked_share_is_the_rate(words: float) -> None:
    examples = chunk([(30, 30)] * 500)
    batch = masked_windows(examples, 64, 0.3, words, np.random.default_rng(1))
    assert batch.weights.sum() / np.prod(batch.ids.shape) == pytest.approx(0.3, abs=0.02)


def test_masks_of_the_examples_are_undone() -> None:
    given_text = chunk([(5, 5)])
    ids, positions, labels = given_text.ids.copy(), np.array([[2, 4, 0, 0]], np.int32), np.zeros((1, 4), np.int32)
    weights = np.array([[1, 1, 0, 0]], np.float32)
    labels[0, :2] = ids[0, [2, 4]]
    ids[0, [2, 4]] = MASK
    masked = given_text._replace(ids=ids, positions=positions, labels=labels, weights=weights)
    assert (unmasked(masked).ids == given_text.ids).all()


STARTED = """
import json, numpy as np, torch
from stages.train.model import new_model
from stages.train.start import neighbour_start
config = json.load(open("stages/tpu_train/configs/character_tiny.json"))
model = new_model(config, 1)
neighbour_start(model, np.random.default_rng(1).integers(20, 400, 50_000).astype(np.int32), 1)
model.set_attn_implementation("eager")
"""


def test_the_start_looks_at_neighbours_and_knows_the_frequencies(train_python: Program) -> None:
    program = f"""{STARTED}
ids = torch.randint(20, 400, (1, 64), generator=torch.Generator().manual_seed(1))
seen = model.albert(ids, output_attentions=True).attentions[0][0].detach()
places = torch.arange(20, 40)
print(json.dumps([[float(seen[head, places, places + offset].min()) for head, offset in enumerate((-1, 1, -2, 2))],
    float(model.predictions.bias[25] - model.predictions.bias[5000]), float(model.predictions.bias.exp().sum())]))
"""
    attention, difference, total = json.loads(train_python("-c", program))
    assert min(attention) > 0.6  # 0.73 to 0.82 here, over places and heads
    assert 4 < difference < 6
    assert total == pytest.approx(1, abs=1e-3)


def test_the_start_compares_two_texts(train_python: Program) -> None:
    program = f"""{STARTED}
first, second = torch.arange(20, 60), torch.arange(100, 160)
states, shares = [], []
for same in (0, 20, 40):
    text = torch.cat([first[:same], second[: 40 - same]]).flip(0)
    ids = torch.tensor([[2, *first.tolist(), 3, *text.tolist(), 3]])
    segments = torch.tensor([[0] * 42 + [1] * 41])
    said = model.albert(ids, token_type_ids=segments, output_attentions=True, output_hidden_states=True)
    states.append(float(said.hidden_states[2][0, 0, 28].detach()))
    shares.append([float(said.attentions[0][0, 8, 1 + place, 82 - 1 - place].detach()) for place in range(same)])
print(json.dumps([states, min(shares[2])]))
"""
    states, share = json.loads(train_python("-c", program))
    assert share > 0.5  # each token has found itself in the other text
    assert states[0] + 0.2 < states[1] < states[2] - 0.2  # and [CLS] knows how many have


def test_training_leaves_what_compares_as_it_was(train_python: Program) -> None:
    program = f"""{STARTED}
from stages.train.optimizers import MuonAdamW
from stages.train.start import frozen, parts
names = {{id(parameter): name for name, parameter in model.named_parameters()}}
kept = [(names[id(parameter)], parameter, index) for parameter, index in parts(model)]
before = [parameter.detach()[index].clone() for _, parameter, index in kept]
all_before = {{name: parameter.detach().clone() for name, parameter in model.named_parameters()}}
optimizer = MuonAdamW(model.named_parameters(), 14, lambda: frozen(model))
for _ in range(2):
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape)
    optimizer.step(0.01)
changed = sorted({{name for (name, part, index), value in zip(kept, before) if (part[index] != value).any()}})
still = [name for name, parameter in model.named_parameters() if (parameter == all_before[name]).all()]
words = model.albert.embeddings.word_embeddings.weight.detach()
sizes = words[20:400, 28:44].abs().amax(1) / words[20:400, 44:].square().mean(1).sqrt()
signs = bool((words.sign() == all_before["albert.embeddings.word_embeddings.weight"].sign())[:, 26:44].all())
print(json.dumps([len(kept), changed, still, [float(sizes.min()), float(sizes.max())], signs,
    len(parts(new_model(config, 1)))]))
"""
    count, changed, still, sizes, signs, of_others = json.loads(train_python("-c", program))
    assert count
    assert signs
    assert not still
    # Codes and marks grow with the contents of the embeddings, and with nothing else.
    assert changed == [f"albert.embeddings.{name}_embeddings.weight" for name in ("token_type", "word")]
    assert sizes == pytest.approx([1, 1], abs=1e-3)
    assert of_others == 0  # a model of another start learns everywhere


def test_an_orthogonal_update_has_the_singular_vectors_of_the_matrix(train_python: Program) -> None:
    program = """
import json, torch
from stages.train.optimizers import ITERATIONS, POLYNOMIAL, orthogonal
torch.manual_seed(1)
errors = []
for shape in ((5, 80), (80, 5), (40, 40)):
    matrix = torch.randn(shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix / matrix.norm(), full_matrices=False)
    for _ in range(ITERATIONS):
        values = sum(factor * values ** power for factor, power in zip(POLYNOMIAL, (1, 3, 5)))
    errors.append(float((orthogonal(matrix) - left * values @ right).abs().max()))
print(json.dumps(errors))
"""
    assert max(json.loads(train_python("-c", program))) < 1e-12


def test_muon_moves_matrices_as_pytorch_s_own_does(train_python: Program) -> None:
    program = """
import json, torch
from stages.train.optimizers import DECAY, MOMENTUM, MuonAdamW
torch.manual_seed(1)
own, theirs = (torch.nn.Parameter(values.clone()) for values in [torch.randn(30, 12)] * 2)
optimizer = MuonAdamW([(".albert_layers.weight", own), ("rest", torch.nn.Parameter(torch.ones(3)))], 14.0)
of_pytorch = torch.optim.Muon([theirs], lr=0.14, weight_decay=DECAY, momentum=MOMENTUM)
before = own.detach().clone()
for _ in range(3):
    own.grad = theirs.grad = torch.randn(30, 12)
    optimizer.named["rest"].grad = torch.ones(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        optimizer.step(0.01)
    of_pytorch.step()
print(json.dumps([float((own - theirs).abs().max()), float((own - before).abs().min())]))
"""
    apart, moved = json.loads(train_python("-c", program))
    assert apart < 0.005  # the last digits of bfloat16
    assert moved > 0


def test_padding_adds_nothing_to_the_sums(train_python: Program) -> None:
    """Rows, slots and queries are padded to multiples: the sums of a batch are those of its examples one by one.

    A batch with nothing masked, which no stage makes, has the loss 0.
    """
    program = """
import json, torch, numpy as np
from stages.formats.batches import Batch
from stages.train.model import Pretraining, new_model, tensors
config = json.load(open("stages/tpu_train/configs/character_tiny.json")) | {"vocab_size": 50}
pretraining, random = Pretraining(new_model(config, 1)), np.random.default_rng(1)
lengths = np.array([17, 70, 70, 33])
mask = (np.arange(70) < lengths[:, None]).astype(np.uint8)
ids, labels = (random.integers(5, 50, shape).astype(np.int32) for shape in ((4, 70), (4, 9)))
positions = random.integers(1, 16, (4, 9)).astype(np.int32)
weights = (np.arange(9) < np.array([1, 9, 3, 2])[:, None]).astype(np.float32)
batch = Batch(ids * mask, mask, mask * 0, positions, labels, weights, np.array([0, 1, 1, 0], np.int32))
sums = lambda part: [float(value) for value in pretraining(tensors(part, torch.device("cpu")))]
parts = [sums(batch.rows(slice(example, example + 1))) for example in range(4)]
empty = sums(batch._replace(weights=weights * 0))
print(json.dumps([sums(batch), np.sum(parts, 0).tolist(), empty[:3]]))
"""
    whole, parts, empty = json.loads(train_python("-c", program))
    assert whole == pytest.approx(parts, rel=1e-5)
    assert whole[1] == 15
    assert empty == [0, 0, 0]


def test_no_warm_up_starts_at_the_peak(train_python: Program) -> None:
    program = """
from types import SimpleNamespace
from stages.train.recipes import Efficient
for warmup in (0, 4, None):
    recipe = object.__new__(Efficient)
    recipe.options = SimpleNamespace(learning_rate=1.0, warmup=warmup, steps=10**6)
    print(round(recipe.rate(0), 3))
"""
    assert train_python("-c", program).split() == ["1.0", "0.25", str(round(1 / 78, 3))]


def efficient(inputs: list[object]) -> list[object]:
    return [*inputs, "--recipe", "efficient", "--warmup", 5]


def test_a_run_from_a_checkpoint_records_its_content(inputs: list[object], run_stage: Run, tmp_path: Path) -> None:
    run_stage("train", *efficient(inputs), "--out", tmp_path / "first")
    start = tmp_path / "first" / "best" / "model.safetensors"
    flags = [*efficient(inputs), "--init-checkpoint", start, "--out", tmp_path / "second"]
    run_stage("train", *flags)
    recorded = json.loads((tmp_path / "second" / "manifest.json").read_text())["options"]["init_checkpoint"]
    assert recorded == hashlib.sha256(start.read_bytes()).hexdigest()
    start.write_bytes(b"other")
    assert (
        "was made with other options or inputs: options.init_checkpoint was"
        in run_stage("train", *flags, code=2).stderr
    )
    start.unlink()
    assert f"cannot read {start}: No such file" in run_stage("train", *flags, code=2).stderr


def test_a_run_that_is_killed_goes_on_to_the_bit(inputs: list[object], run_stage: Run, tmp_path: Path) -> None:
    run_stage("train", *efficient(inputs), "--out", tmp_path / "whole")
    found = [row for row in rows(tmp_path / "whole") if row["of"] == "held_out"]
    assert [row["step"] for row in found] == [8, 16, 24]
    assert {"masked_lm_loss", "full_length_masked_lm_loss", "sentence_order_accuracy"} < set(found[0])
    process = begun(efficient(inputs), tmp_path / "out", "step-00000008/state.json")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run_stage("train", *efficient(inputs), "--out", tmp_path / "out")
    same_run(tmp_path / "whole", tmp_path / "out")


def without_steps(inputs: list[object]) -> list[object]:
    """The flags of a run whose length is named otherwise."""
    at = inputs.index("--steps")
    return efficient([*inputs[:at], *inputs[at + 2 :]])


@pytest.mark.parametrize("recipe", ["efficient", "published"])
def test_hours_become_steps_that_are_kept(inputs: list[object], run_stage: Run, tmp_path: Path, recipe: str) -> None:
    flags = [*without_steps(inputs), "--recipe", recipe, "--hours", 0.001, "--save-every", 10_000, "--out", tmp_path]
    said = run_stage("train", *flags).stderr
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert f"{plan['steps']:,} steps of" in said
    assert rows(tmp_path)[-1]["step"] == plan["steps"]
    assert "steps of" not in run_stage("train", *flags).stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hours", 1], "--steps and --hours both name the length of the run; leave one out"),
        (["--recipe", "efficient", "--dynamic-masking"], "leave out --dynamic-masking"),
    ],
)
def test_what_does_not_go_together_is_refused(
    inputs: list[object], run_stage: Run, tmp_path: Path, flags: list[object], words: str
) -> None:
    assert words in run_stage("train", *inputs, *flags, "--out", tmp_path, code=2).stderr
