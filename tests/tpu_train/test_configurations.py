"""The seven model configurations, literally, and which evaluation counts as the best."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.command.refusal import Refusal
from stages.formats.albert_config import check_config
from stages.formats.pretraining import best_evaluation

CONFIGS = Path(__file__).resolve().parents[2] / "stages" / "tpu_train" / "configs"


@pytest.mark.parametrize(
    ("name", "vocab_size", "layers", "hidden", "intermediate"),
    [
        ("wordpiece_tinysegmenter_base", 32768, 12, 768, 3072),
        ("wordpiece_tinysegmenter_medium", 32768, 9, 576, 2304),
        ("wordpiece_tinysegmenter_small", 32768, 6, 384, 1536),
        ("wordpiece_tinysegmenter_tiny", 32768, 4, 312, 1248),
        ("character_base", 6144, 12, 768, 3072),
        ("character_small", 6144, 6, 384, 1536),
        ("character_tiny", 6144, 4, 312, 1248),
    ],
)
def test_published_shapes(name: str, vocab_size: int, layers: int, hidden: int, intermediate: int) -> None:
    path = CONFIGS / f"{name}.json"
    config = json.loads(path.read_text())
    assert check_config(config, str(path)) == {
        "vocab_size": vocab_size,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "embedding_size": 128,
        "num_attention_heads": 12,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "net_structure_type": 0,
        "gap_size": 0,
        "num_memory_blocks": 0,
        "down_scale_factor": 1,
    }


def test_there_are_no_others() -> None:
    assert len(list(CONFIGS.iterdir())) == 7


@pytest.mark.parametrize("config", [[], None, "albert", {}])
def test_what_is_no_configuration(config: Any) -> None:
    with pytest.raises(Refusal, match=r"f\.json"):
        check_config(config, "f.json")


def row(step: int, accuracy: float, loss: float) -> dict[str, Any]:
    return {"step": step, "masked_lm_accuracy": accuracy, "masked_lm_loss": loss}


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        ([], None),
        ([row(0, 0.9, 0.1)], None),
        ([row(0, 0.9, 0.1), row(1, 0.1, 9.0)], 1),
        ([row(1, 0.2, 3.0), row(2, 0.3, 4.0), row(3, 0.1, 1.0)], 2),
        ([row(1, 0.3, 3.0), row(2, 0.3, 2.0), row(3, 0.3, 2.0)], 2),
    ],
)
def test_best(rows: list[dict[str, Any]], step: int | None) -> None:
    found = best_evaluation(rows)
    assert (found and found["step"]) == step


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0.1, 0.2]), st.sampled_from([1.0, 2.0])), min_size=1))
def test_no_row_is_better_than_the_best(values: list[tuple[int, float, float]]) -> None:
    rows = [row(*value) for value in values]
    found = best_evaluation(rows)
    assert found in rows
    rank = (found["masked_lm_accuracy"], -found["masked_lm_loss"])
    assert all((other["masked_lm_accuracy"], -other["masked_lm_loss"]) <= rank for other in rows)
