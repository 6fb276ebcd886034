"""`train` computes what Google's ALBERT computes under TensorFlow 1.15: losses, gradients, LAMB, the schedule."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
CONFIG = {
    "vocab_size": 211, "embedding_size": 32, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 80, "max_position_embeddings": 40, "type_vocab_size": 2, "num_hidden_groups": 1,
    "inner_group_num": 1, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.02,
}  # fmt: skip
# Peak rate, steps, warm-up; and four updates, as if at these steps: where the falling line begins, with moments that
# are zero yet; within the warm-up; at its beginning, where the rate is 0; and at the end.
RUN = (0.01, 10, 2, 2, 1, 0, 9)
COUNT, AT_REST = 4, 2
# Attention does not change when the same number is added to the scores of all keys: this bias has no gradient.
WITHOUT_GRADIENT = "attention_1/self/key/bias"
Arrays = dict[str, np.ndarray[Any, Any]]
Found = tuple[Arrays, Arrays]


def batch() -> Arrays:
    """Six examples of 40 tokens: padding, unused slots for predictions, both orders."""
    random = np.random.RandomState(1)
    lengths = np.array([40, 31, 40, 12, 25, 40])
    within = np.arange(40) < lengths[:, None]
    masked = np.array([5, 4, 5, 1, 3, 5])
    used = np.arange(5) < masked[:, None]
    positions = np.stack([np.sort(random.permutation(np.arange(1, 11))[:5]) for _ in lengths])
    return {
        "ids": np.where(within, random.randint(5, 211, within.shape), 0).astype(np.int32),
        "mask": within.astype(np.int32),
        "segments": (within & (np.arange(40) > lengths[:, None] // 2)).astype(np.int32),
        "positions": np.where(used, positions, 0).astype(np.int32),
        "labels": np.where(used, random.randint(5, 211, used.shape), 0).astype(np.int32),
        "weights": used.astype(np.float32),
        "swapped": np.array([0, 1, 1, 0, 1, 0], np.int32),
    }


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, train_python: Callable[..., Any], tensorflow_python: Callable[..., Any]
) -> Found:
    """What TensorFlow found and what PyTorch found."""
    folder = tmp_path_factory.mktemp("parity")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    np.savez(folder / "batch.npz", **batch())  # type: ignore[arg-type]
    theirs, ours = folder / "tensorflow.npz", folder / "pytorch.npz"
    files = (folder / "config.json", folder / "batch.npz", theirs)
    tensorflow_python(HERE / "tensorflow_steps.py", *files, *RUN)
    train_python(HERE / "pytorch_steps.py", *files, ours, *RUN)
    return dict(np.load(theirs)), dict(np.load(ours))


def variables(arrays: Arrays, prefix: str) -> list[str]:
    return sorted(name.partition("/")[2] for name in arrays if name.startswith(prefix + "/"))


def differs_by(theirs: Any, ours: Any) -> float:
    """The norm of the difference, by the norm of what it should be."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def test_losses_agree(found: Found) -> None:
    theirs, ours = found
    for loss in ("masked_lm_loss", "order_loss"):
        assert ours[loss] == pytest.approx(theirs[loss], abs=1e-5)
    np.testing.assert_allclose(ours["losses"], theirs["losses"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("prefix", ["gradient", "parts"])
def test_gradients_agree_of_the_whole_batch_and_of_its_parts(found: Found, prefix: str) -> None:
    theirs, ours = found
    assert variables(ours, prefix) == variables(theirs, "gradient")
    assert ours["norm"] == pytest.approx(theirs["norm"], rel=1e-5)
    # Clipping has something to do.
    assert theirs["norm"] > 1
    for variable in variables(theirs, "gradient"):
        of_theirs, of_ours = theirs[f"gradient/{variable}"], ours[f"{prefix}/{variable}"]
        if variable.endswith(WITHOUT_GRADIENT):
            assert max(np.abs(of_theirs).max(), np.abs(of_ours).max()) < 1e-7
        else:
            assert differs_by(of_theirs, of_ours) < 1e-4, variable


@pytest.mark.parametrize("number", range(COUNT))
def test_steps_of_lamb_agree(found: Found, number: int) -> None:
    theirs, ours = found
    before = "before" if number == 0 else f"after{number - 1}"
    for variable in variables(theirs, "before"):
        moved = theirs[f"after{number}/{variable}"] - theirs[f"{before}/{variable}"]
        so_far = ours[f"after{number}/{variable}"] - theirs[f"{before}/{variable}"]
        if number == AT_REST:
            assert not moved.any()
        elif not variable.endswith(WITHOUT_GRADIENT):
            assert differs_by(moved, so_far) < 1e-4, variable


def test_weights_are_drawn_from_the_same_distribution(found: Found) -> None:
    theirs, ours = found
    ours_by_name = {name.partition("/")[2]: array for name, array in ours.items() if name.startswith("drawn/")}
    drawn = [name for name in variables(theirs, "drawn") if theirs[f"drawn/{name}"].std() > 0]
    for name in variables(theirs, "drawn"):
        constant = theirs[f"drawn/{name}"]
        assert name in drawn or (constant == (1 if name.endswith("gamma") else 0)).all()
    for name, array in ours_by_name.items():
        # Bounds and deviation of a normal distribution that is cut off at two deviations.
        if array.std() > 0:
            assert np.abs(array).max() <= 0.04
            assert array.std() == pytest.approx(0.02 * 0.8796, rel=6 / np.sqrt(array.size))
            assert abs(array.mean()) < 4 * 0.0176 / np.sqrt(array.size)
        else:
            assert (array == (1 if "norm" in name.lower() and name.endswith("weight") else 0)).all(), name
    assert sum(array.std() > 0 for array in ours_by_name.values()) == len(drawn)
    assert np.abs(theirs["drawn/bert/embeddings/word_embeddings"]).max() <= 0.04
