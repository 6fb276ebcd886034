"""TensorFlow checkpoints: which are in a folder, whether one fits a configuration, the best one under its own name."""

from typing import Any, Dict, List, Tuple

from stages.handover import Refusal
from stages.tpu_train import files
from stages.tpu_train.tensorflow_albert import modeling, run_pretraining, tf

BEST = "model.ckpt-best"


def saved(out: str) -> List[Tuple[int, str]]:
    """The whole checkpoints of a run as (step, path), oldest first."""
    state = tf.train.get_checkpoint_state(out)
    paths = [path for path in state.all_model_checkpoint_paths if tf.train.checkpoint_exists(path)] if state else []
    return sorted((int(path.rpartition("-")[2]), path) for path in paths)


def pretraining_logits(config: Dict[str, Any], inputs: Dict[str, Any]) -> Tuple[Any, Any]:
    """ALBERT with both heads, in the current graph.

    ``inputs``: int32 tensors input_ids, input_mask, segment_ids [B, L] and masked_lm_positions [B, P].
    Returns masked language model logits [B * P, V] and sentence order logits [B, 2], before the softmax.
    """
    albert = modeling.AlbertConfig.from_dict(config)
    model = modeling.AlbertModel(
        config=albert,
        is_training=False,
        input_ids=inputs["input_ids"],
        input_mask=inputs["input_mask"],
        token_type_ids=inputs["segment_ids"],
    )
    positions = inputs["masked_lm_positions"]
    nothing = tf.zeros_like(positions)
    _, _, masked = run_pretraining.get_masked_lm_output(
        albert,
        model.get_sequence_output(),
        model.get_embedding_table(),
        positions,
        nothing,
        tf.cast(nothing, tf.float32),
    )
    _, _, order = run_pretraining.get_sentence_order_output(albert, model.get_pooled_output(), nothing[:, 0])
    # Both functions return log-probabilities; the logits are what goes into that softmax.
    for log_probabilities in (masked, order):
        assert log_probabilities.op.type == "LogSoftmax", log_probabilities.op
    return masked.op.inputs[0], order.op.inputs[0]


def check_checkpoint(prefix: str, config: Dict[str, Any]) -> None:
    """``Refusal`` when ``prefix`` is no checkpoint, or lacks a variable of the model that ``config`` describes."""
    try:
        shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError):
        raise Refusal(
            "there is no readable TensorFlow checkpoint %s (files %s.index and %s.data-…)" % (prefix, prefix, prefix)
        )
    with tf.Graph().as_default():
        token = tf.zeros([1, 1], tf.int32)
        names = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions")
        pretraining_logits(config, dict.fromkeys(names, token))
        for variable in tf.trainable_variables():
            name, wanted = variable.op.name, variable.shape.as_list()
            if name not in shapes:
                raise Refusal("%s has no variable %s; it is of another architecture" % (prefix, name))
            if shapes[name] != wanted:
                raise Refusal(
                    "%s has variable %s of shape %s, the configuration needs %s; they are of different models"
                    % (prefix, name, shapes[name], wanted)
                )


def data_sha256(prefix: str) -> List[str]:
    """SHA-256 of each data file of a checkpoint, in name order: what tells its weights from others."""
    return [files.describe(path)["sha256"] for path in sorted(tf.gfile.Glob(prefix + ".data-*"))]


def keep_best(out: str, path: str, row: Dict[str, Any]) -> None:
    """Copy the checkpoint ``path`` to OUT/model.ckpt-best.*, unless that is what is there.

    ``row`` is its line of the evaluation results. model.ckpt-best.json holds it with the SHA-256 of the
    data; it is removed first and written last, so that where it is, the three files belong together.
    """
    record = files.join(out, BEST + ".json")
    present = files.names(out)
    if BEST + ".json" in present:
        if files.read_json(record)["step"] == row["step"]:
            return
        files.remove(record)
    for name in present:
        if name.startswith(BEST + ".") and name != BEST + ".json":
            files.remove(files.join(out, name))
    for source in sorted(tf.gfile.Glob(path + ".*")):
        files.copy(source, files.join(out, BEST + source[len(path) :]))
    files.write_json(record, dict(row, sha256=data_sha256(files.join(out, BEST))))
