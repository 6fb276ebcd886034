"""TensorFlow checkpoints: the last one of a run, the variables of a configuration, the copy of the best one."""

import re
import sys
from typing import Any, Dict, List, Tuple

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import read_json, write_json
from stages.tpu_train.files import BEST, BEST_RECORD, LIST
from stages.tpu_train.tensorflow_albert import modeling, run_pretraining, tf

INDEX = re.compile(r"model\.ckpt-(\d+)\.index")


def last_step(folder: str, out: str) -> int:
    """The step of the newest checkpoint of a run, after a check of all its bytes; 0 in a new run.

    ``folder``: OUT or its copy. Without its list, or a checkpoint of the list, TensorFlow starts again from step 0 and
    prints nothing. So a list that differs from the files is rewritten here. ``Refusal`` for a damaged checkpoint, and
    for a run that has lost all of them. A damaged checkpoint outside the list was being saved when the run was killed;
    it is not used.
    """
    names = storage.names(folder)
    steps = sorted(int(match.group(1)) for match in map(INDEX.fullmatch, names) if match)
    paths = [storage.join(folder, "model.ckpt-%d" % step) for step in steps]
    state = tf.train.get_checkpoint_state(folder)
    listed = list(state.all_model_checkpoint_paths) if state else None
    while paths:
        newest = storage.name_of(paths[-1])
        try:
            read_through(paths[-1], storage.join(out, newest))
            break
        except Refusal as damage:
            if LIST in names and (listed is None or paths[-1] in listed):
                previous = storage.name_of(paths[-2]) if len(paths) > 1 else "the beginning"
                raise Refusal(
                    "%s; remove %s.*, and the same command resumes from %s"
                    % (damage, storage.join(out, newest), previous)
                )
            print("tpu-train: %s is incomplete and not used" % newest, file=sys.stderr)
            paths.pop()
    if not paths:
        traces = [name for name in names if name == LIST or name.startswith(BEST) or name.endswith((".tsv", ".jsonl"))]
        if traces:
            raise Refusal(
                "%s has lost all checkpoints of its run (%s is left); restore them or remove the folder to start again"
                % (out, traces[0])
            )
        return 0
    if listed != paths:
        with storage.whole_file(storage.join(folder, LIST), "w") as stream:
            # Names without folders, so that the folder can be moved.
            stream.write('model_checkpoint_path: "%s"\n' % newest)
            stream.writelines('all_model_checkpoint_paths: "%s"\n' % storage.name_of(path) for path in paths)
    step = steps[len(paths) - 1]
    if step:
        print("tpu-train: resuming from step %s" % format(step, ","), file=sys.stderr)
    return step


def read_through(prefix: str, name: str) -> Dict[str, List[int]]:
    """The shape of every variable of a checkpoint. ``Refusal`` if a byte is missing or a checksum differs.

    ``name``: the prefix as errors give it.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes: Dict[str, List[int]] = reader.get_variable_to_shape_map()
        for variable in shapes:
            reader.get_tensor(variable)
    except (tf.errors.OpError, ValueError) as error:
        if isinstance(error, (tf.errors.NotFoundError, ValueError)) or not storage.exists(prefix + ".index"):
            raise Refusal(
                "there is no readable TensorFlow checkpoint %s (files %s.index and %s.data-…)" % (name, name, name)
            )
        raise Refusal("the checkpoint %s is damaged (%s)" % (name, str(error.message).partition("\n")[0]))
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
    shapes = read_through(prefix, prefix)
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


def keep_best(folder: str, path: str, row: Dict[str, Any]) -> None:
    """Copy the checkpoint ``path`` to model.ckpt-best.*, unless it is there. ``folder``: OUT or its copy.

    model.ckpt-best.json holds ``row``, its evaluation, with the SHA-256 of the data. It is removed first and written
    last, so that it always describes the files beside it.
    """
    best, record = storage.join(folder, BEST), storage.join(folder, BEST_RECORD)
    present = [name for name in storage.names(folder) if name.startswith(BEST + ".")]
    if BEST_RECORD in present:
        if read_json(record)["step"] == row["step"]:
            return
        storage.remove(record)
    storage.remove_all(folder, present)
    for source in sorted(tf.gfile.Glob(path + ".*")):
        storage.fetch(source, best + source[len(path) :])
    write_json(record, dict(row, sha256=data_sha256(best)))
