"""Training by PyTorch against TensorFlow 1.15 and Google's ALBERT: losses, gradients, LAMB's steps, initial values."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.train.conftest import HERE, ROOT, Program

Arrays = dict[str, NDArray[Any]]
Draw = Callable[[int], Arrays]
# Two hidden groups, so that no layer is taken for another; `tiny` uses its one layer four times.
SMALL = {
    "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "embedding_size": 20,
    "hidden_size": 48, "initializer_range": 0.02, "intermediate_size": 96, "max_position_embeddings": 40,
    "num_attention_heads": 4, "num_hidden_layers": 2, "num_hidden_groups": 2, "net_structure_type": 0, "gap_size": 0,
    "num_memory_blocks": 0, "inner_group_num": 1, "down_scale_factor": 1, "type_vocab_size": 2, "vocab_size": 100,
}  # fmt: skip
TINY = json.loads((ROOT / "stages/tpu_train/configs/character_tiny.json").read_text())
# warmed: the rate rises and falls, from random values that no two variables share. tiny: TensorFlow's initial values.
CASES: dict[str, dict[str, Any]] = {
    "warmed": {"config": SMALL, "rate": 0.05, "steps": 10, "warmup": 2, "taken": 7, "random": True, "more": True},
    "tiny": {"config": TINY, "rate": 0.002, "steps": 10, "warmup": 0, "taken": 2, "random": False, "more": False},
}
SHAPES = {"warmed": (6, 32, 5), "tiny": (3, 96, 12)}
SCHEDULES: list[dict[str, Any]] = [
    {"peak": 2.2e-4, "last": 1_000_000, "warmup": 25_000, "wanted": [0, 1, 12_500, 24_999, 25_000, 500_000, 999_999]},
    {"peak": 0.01, "last": 20, "warmup": 0, "wanted": [0, 1, 19, 20, 25]},
    {"peak": 0.01, "last": 20, "warmup": 20, "wanted": [0, 1, 19, 20]},
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, tensorflow_python: Program, train_python: Program) -> Any:
    """`found(case)`: of a case what TensorFlow has, what PyTorch has, and the batches. `rates`: of schedules."""
    folder = tmp_path_factory.mktemp("parity")
    (folder / "cases.json").write_text(json.dumps({"steps": CASES, "schedules": SCHEDULES}))
    for name, case in CASES.items():
        batches = [batch(case["config"], *SHAPES[name], step) for step in range(case["taken"])]
        every = {f"{step}/{field}": array for step, one in enumerate(batches) for field, array in one.items()}
        np.savez(folder / f"{name}.batches.npz", **every)  # type: ignore[arg-type]
    tensorflow_python(HERE / "tensorflow_steps.py", folder)
    train_python(HERE / "torch_steps.py", folder)
    return Found(folder)


class Found:
    """The files that the two programs wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rates, self.own_rates = (dict(np.load(folder / f"schedule{kind}.npz")) for kind in ("", ".torch"))

    def __call__(self, case: str) -> tuple[Arrays, Arrays, Arrays]:
        named = ("tensorflow", "torch", "batches")
        tensorflow, torch, batches = (dict(np.load(self.folder / f"{case}.{kind}.npz")) for kind in named)
        return tensorflow, torch, batches


def batch(config: dict[str, Any], examples: int, length: int, predictions: int, step: int) -> Arrays:
    """Random examples: lengths from 4 tokens to all, unused prediction slots, both orders, [PAD] among the tokens.

    At step 1 none has padding; at step 2 there is padding between tokens, which tfrecords never makes.
    """
    random = np.random.default_rng(step)
    lengths = random.permutation(np.linspace(4, length, examples).astype(int))
    if step == 1:
        lengths[:] = length
    places = np.arange(length)
    mask = places < lengths[:, None]
    if step == 2:
        mask[:, 2:4] = random.random((examples, 2)) < 0.5
    positions, weights = np.zeros((2, examples, predictions))
    for example, used in enumerate(lengths):
        masked = np.sort(random.permutation(np.flatnonzero(mask[example, 1:used]) + 1)[: max(1, used // 4)])
        masked = masked[:predictions]
        positions[example, : len(masked)] = masked
        weights[example, : len(masked)] = 1
    arrays = {
        "ids": np.where(mask, random.integers(0, config["vocab_size"], mask.shape), 0),
        "mask": mask,
        "segments": mask & (places >= lengths[:, None] // 2),
        "positions": positions,
        "labels": np.where(weights > 0, random.integers(0, config["vocab_size"], weights.shape), 0),
        "weights": weights,
        "swapped": np.arange(examples) % 2,
    }
    return {name: array.astype(np.float32 if name == "weights" else np.int32) for name, array in arrays.items()}


def far(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The norm of the difference by the norm of what is right, in float64."""
    right = np.linalg.norm(theirs.astype(np.float64))
    return float(np.linalg.norm(ours.astype(np.float64) - theirs) / (right or 1))


def variables(found: Arrays) -> list[str]:
    return [name.removeprefix("before/") for name in found if name.startswith("before/")]


def assert_equal_gradients(ours: Arrays, theirs: Arrays, kind: str, of: str = "gradient", most: float = 1e-4) -> None:
    """Each variable's by its own norm. Keys have biases that no output depends on: theirs are rounding errors."""
    names = [name.removeprefix(f"{of}/") for name in theirs if name.startswith(f"{of}/")]
    assert len(names) > 30
    everything = np.sqrt(sum(np.linalg.norm(theirs[f"{of}/{name}"].astype(np.float64)) ** 2 for name in names))
    for name in names:
        one, other = ours[f"{kind}/{name}"], theirs[f"{of}/{name}"]
        if name.endswith("key/bias"):
            assert np.linalg.norm(one) < 1e-6 * everything
            assert np.linalg.norm(other) < 1e-6 * everything
        else:
            assert np.linalg.norm(other) > 1e-5 * everything, f"{name} is not tested"
            assert far(one, other) < most, name


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_tensorflow(found: Any, case: str) -> None:
    """To 1e-5, relative, at every step: also behind steps of LAMB."""
    tensorflow, torch, _ = found(case)
    for step in range(CASES[case]["taken"]):
        assert torch[f"{step}/losses"] == pytest.approx(tensorflow[f"{step}/losses"], rel=1e-5), step


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_every_variable_are_those_of_tensorflow(found: Any, case: str) -> None:
    tensorflow, torch, _ = found(case)
    assert_equal_gradients(torch, tensorflow, "gradient")


@pytest.mark.parametrize("case", CASES)
def test_lamb_moves_every_variable_as_tensorflow_does(found: Any, case: str) -> None:
    """Variables, and how far they have moved since the first step; both moments. Each to 1e-4 of its norm."""
    tensorflow, torch, _ = found(case)
    for step in range(CASES[case]["taken"]):
        for name in variables(tensorflow):
            if name.endswith("key/bias"):
                continue  # Its gradient is rounding errors alone.
            before = tensorflow[f"before/{name}"].astype(np.float64)
            ours, theirs = (each[f"{step}/after/{name}"] for each in (torch, tensorflow))
            assert far(ours, theirs) < 1e-4, name
            moved = np.linalg.norm(theirs - before)
            assert moved > 0 or tensorflow["0/rate"] == step == 0, name
            assert far(ours - before, theirs - before) < 1e-4, name
            for slot in ("adam_m", "adam_v"):
                ours, theirs = (each[f"{step}/after/{name}/{slot}"] for each in (torch, tensorflow))
                assert far(ours, theirs) < 1e-4, f"{name}/{slot}"


def test_the_rate_of_a_step_is_that_of_tensorflow_or_of_its_next_step(found: Any) -> None:
    """TensorFlow counts the step up while it computes the rate from it, in the same memory: either may be first."""
    for case, given in CASES.items():
        tensorflow, torch, _ = found(case)
        for step in range(given["taken"]):
            either = torch["rates"][step : step + 2]
            assert any(tensorflow[f"{step}/rate"] == pytest.approx(rate, rel=1e-6) for rate in either)


def test_gradients_are_clipped_in_some_of_these_steps_and_in_others_not(found: Any) -> None:
    _, torch, _ = found("warmed")
    norms = [torch[f"{step}/norm"] for step in range(CASES["warmed"]["taken"])]
    assert max(norms) > 1 > min(norms)


def test_the_same_variables_have_decay_and_a_trust_ratio(found: Any) -> None:
    tensorflow, torch, _ = found("warmed")
    excluded = ("LayerNorm", "layer_norm", "bias")
    adapted = [name for name in variables(tensorflow) if not any(part in name for part in excluded)]
    assert list(torch["adapted"]) == sorted(adapted)
    assert 15 < len(adapted) < len(variables(tensorflow))


def test_parts_of_a_batch_add_up_to_the_whole(found: Any) -> None:
    """Micro batches, and processes: with the denominators of the whole batch, gradients are summed."""
    _, torch, _ = found("warmed")
    assert_equal_gradients(torch, torch, "parts", of="whole", most=1e-5)


def test_what_is_left_out_changes_nothing(found: Any) -> None:
    """Padding, and all of the last layer but what is asked of it: transformers computes that too."""
    _, torch, _ = found("warmed")
    assert_equal_gradients(torch, torch, "whole", of="plain", most=1e-5)


def test_sums_count_what_is_masked(found: Any) -> None:
    _, torch, batches = found("warmed")
    _, weights, correct, _, ordered, examples = torch["sums"]
    assert weights == batches["0/weights"].sum()
    assert examples == len(batches["0/ids"])
    assert 0 <= correct <= weights
    assert 0 <= ordered <= examples


def test_losses_under_bfloat16_are_float32_and_near(found: Any) -> None:
    _, torch, _ = found("warmed")
    assert set(torch["types"]) == {"torch.float32"}
    assert not np.array_equal(torch["rough"], torch["sums"])
    for place in (0, 3):
        assert torch["rough"][place] == pytest.approx(torch["sums"][place], rel=0.03)


def test_gradients_under_bfloat16_point_where_they_should(found: Any) -> None:
    """Its attention goes back through products of its own."""
    _, torch, _ = found("warmed")
    for name in (name for name in torch if name.startswith("whole/")):
        exact, near = torch[name].ravel(), torch[name.replace("whole", "bfloat16")].ravel()
        assert exact @ near == pytest.approx(np.linalg.norm(exact) * np.linalg.norm(near), rel=0.02), name


def test_initial_values_have_the_distribution_of_tensorflow(found: Any) -> None:
    """A normal distribution of deviation 0.02 that ends at two deviations has one of 0.0176."""
    ours, theirs = found("warmed")[1], found("tiny")[0]
    deviation = SMALL["initializer_range"]
    assert isinstance(deviation, float)
    for name in variables(theirs):
        mine = ours[f"initial-one/{name}"]
        tensorflows = theirs[f"before/{name}"]
        if name.endswith(("kernel", "embeddings", "output_weights")):
            for values in (mine, tensorflows):
                assert 0 < np.abs(values).max() <= 2 * deviation
                error = 4 / math.sqrt(values.size)
                assert values.std() == pytest.approx(0.8796 * deviation, rel=error)
                assert abs(values.mean()) < error * deviation
        else:
            assert np.all(mine == float(name.endswith("gamma")))
            assert np.all(tensorflows == float(name.endswith("gamma")))


def test_initial_values_hang_on_the_seed_alone(found: Any) -> None:
    _, torch, _ = found("warmed")
    names = [name.removeprefix("initial-one/") for name in torch if name.startswith("initial-one/")]
    assert all(np.array_equal(torch[f"initial-one/{name}"], torch[f"initial-same/{name}"]) for name in names)
    drawn = [name for name in names if name.endswith(("kernel", "embeddings"))]
    assert not any(np.array_equal(torch[f"initial-one/{name}"], torch[f"initial-other/{name}"]) for name in drawn)
    # No two variables of one shape are drawn alike.
    shape: dict[Any, list[Any]] = {}
    for name in drawn:
        array = torch[f"initial-one/{name}"]
        assert not any(np.array_equal(array, other) for other in shape.setdefault(array.shape, []))
        shape[array.shape].append(array)


@pytest.mark.parametrize("number", range(len(SCHEDULES)))
def test_learning_rates_are_those_of_tensorflow(found: Any, number: int) -> None:
    ours = found.own_rates[str(number)]
    # TensorFlow computes them in float32: near the end of a run 1 - step / steps has few digits.
    assert ours == pytest.approx(found.rates[str(number)], rel=1e-6, abs=1e-7 * SCHEDULES[number]["peak"])
    assert max(ours) > 0
