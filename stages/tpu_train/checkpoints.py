"""TensorFlow checkpoints: the last one of a run, the variables of a configuration, the copy of the best one."""

import re
import shutil
import sys
from typing import Any, Dict, List, Optional, Tuple

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import read_json, write_json
from stages.tpu_train.tensorflow_albert import modeling, run_pretraining, tf

BEST = "model.ckpt-best"
# TensorFlow's list of the checkpoints in a folder, and the index of a checkpoint.
LIST = "checkpoint"
INDEX = re.compile(r"model\.ckpt-(\d+)\.index")


def last_step(out: str) -> int:
    """The step of the newest checkpoint in OUT, after a check of all its bytes; 0 in a new run.

    Without its list, or a checkpoint of the list, TensorFlow starts again from step 0 and prints nothing. So a list
    that differs from the files is rewritten here. ``Refusal`` for a damaged checkpoint, and for a run that has lost all
    of them. A damaged checkpoint outside the list was being saved when the run was killed; it is not used.
    """
    names = storage.names(out)
    steps = sorted(int(match.group(1)) for match in map(INDEX.fullmatch, names) if match)
    listed = _listed(out)
    while steps:
        newest = storage.join(out, "model.ckpt-%d" % steps[-1])
        try:
            read_through(newest)
            break
        except Refusal as damage:
            if LIST in names and (listed is None or newest in listed):
                previous = "model.ckpt-%d" % steps[-2] if len(steps) > 1 else "the beginning"
                raise Refusal("%s; remove %s.*, and the same command resumes from %s" % (damage, newest, previous))
            print("tpu-train: model.ckpt-%d is incomplete and not used" % steps[-1], file=sys.stderr)
            steps.pop()
    if not steps:
        traces = [name for name in names if name == LIST or name.startswith(BEST) or name.endswith((".tsv", ".jsonl"))]
        if traces:
            raise Refusal(
                "%s has lost all checkpoints of its run (%s is left); restore them or remove the folder to start again"
                % (out, traces[0])
            )
        return 0
    paths = [storage.join(out, "model.ckpt-%d" % step) for step in steps]
    if listed != paths:
        with storage.whole_file(storage.join(out, LIST), "w") as stream:
            # Names without folders, so that the folder can be moved.
            stream.write('model_checkpoint_path: "%s"\n' % storage.name_of(paths[-1]))
            stream.writelines('all_model_checkpoint_paths: "%s"\n' % storage.name_of(path) for path in paths)
    if steps[-1]:
        print("tpu-train: resuming from step %s" % format(steps[-1], ","), file=sys.stderr)
    return steps[-1]


def _listed(out: str) -> Optional[List[str]]:
    """The checkpoints in TensorFlow's list, oldest first; None without a readable list."""
    state = tf.train.get_checkpoint_state(out)
    return list(state.all_model_checkpoint_paths) if state else None


def read_through(prefix: str) -> Dict[str, List[int]]:
    """The shape of every variable of a checkpoint. ``Refusal`` if a byte is missing or a checksum differs."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes: Dict[str, List[int]] = reader.get_variable_to_shape_map()
        for name in shapes:
            reader.get_tensor(name)
    except (tf.errors.OpError, ValueError) as error:
        if isinstance(error, (tf.errors.NotFoundError, ValueError)) or not storage.exists(prefix + ".index"):
            raise Refusal(
                "there is no readable TensorFlow checkpoint %s (files %s.index and %s.data-…)"
                % (prefix, prefix, prefix)
            )
        raise Refusal("the checkpoint %s is damaged (%s)" % (prefix, str(error.message).partition("\n")[0]))
    return shapes


def saved(out: str) -> List[Tuple[int, str]]:
    """The complete checkpoints of a run as (step, path), oldest first."""
    state = tf.train.get_checkpoint_state(out)
    paths = [path for path in state.all_model_checkpoint_paths if tf.train.checkpoint_exists(path)] if state else []
    return sorted((int(path.rpartition("-")[2]), path) for path in paths)


def pretraining_logits(config: Dict[str, Any], inputs: Dict[str, Any]) -> Tuple[Any, Any]:
    """ALBERT with both heads, in the current graph.

    ``inputs``: int32 tensors input_ids, input_mask, segment_ids [B, L] and masked_lm_positions [B, P]. Return masked
    language model logits [B * P, V] and sentence order logits [B, 2], before the softmax.
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
    zeros = tf.zeros_like(positions)
    _, _, masked = run_pretraining.get_masked_lm_output(
        albert,
        model.get_sequence_output(),
        model.get_embedding_table(),
        positions,
        zeros,
        tf.cast(zeros, tf.float32),
    )
    _, _, order = run_pretraining.get_sentence_order_output(albert, model.get_pooled_output(), zeros[:, 0])
    # Both functions return log-probabilities. The logits are the inputs of their LogSoftmax.
    for log_probabilities in (masked, order):
        assert log_probabilities.op.type == "LogSoftmax", log_probabilities.op
    return masked.op.inputs[0], order.op.inputs[0]


def check_checkpoint(prefix: str, config: Dict[str, Any]) -> None:
    """``Refusal`` if ``prefix`` is no complete checkpoint, or lacks a variable of ``config``'s model."""
    shapes = read_through(prefix)
    with tf.Graph().as_default():
        token = tf.zeros([1, 1], tf.int32)
        names = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions")
        pretraining_logits(config, dict.fromkeys(names, token))
        for variable in tf.trainable_variables():
            name, shape = variable.op.name, variable.shape.as_list()
            if name not in shapes:
                raise Refusal("%s has no variable %s; it is of another architecture" % (prefix, name))
            if shapes[name] != shape:
                raise Refusal(
                    "%s has variable %s of shape %s, the configuration needs %s; they are of different models"
                    % (prefix, name, shapes[name], shape)
                )


def data_sha256(prefix: str) -> List[str]:
    """SHA-256 of each data file of a checkpoint, in the order of names."""
    return [storage.sha256(path) for path in sorted(tf.gfile.Glob(prefix + ".data-*"))]


def keep_best(out: str, path: str, row: Dict[str, Any]) -> None:
    """Copy the checkpoint ``path`` to OUT/model.ckpt-best.*, unless it is there.

    model.ckpt-best.json holds ``row``, its evaluation, with the SHA-256 of the data. It is removed first and written
    last, so that it always describes the files beside it.
    """
    record = storage.join(out, BEST + ".json")
    present = storage.names(out)
    if BEST + ".json" in present:
        if read_json(record)["step"] == row["step"]:
            return
        storage.remove(record)
    for name in present:
        if name.startswith(BEST + ".") and name != BEST + ".json":
            storage.remove(storage.join(out, name))
    for source in sorted(tf.gfile.Glob(path + ".*")):
        with storage.reading(source) as stream, storage.whole_file(
            storage.join(out, BEST + source[len(path) :])
        ) as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
    write_json(record, dict(row, sha256=data_sha256(storage.join(out, BEST))))
