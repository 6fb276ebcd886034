"""Options, shards and a configuration → a trained, evaluated run in OUT, with Google's ALBERT in an Estimator."""

import contextlib
import sys
import time
from typing import Any, Dict, Iterator, List

from stages.command.progress import Progress
from stages.command.refusal import Refusal
from stages.command.stopping import Stop, Stopped
from stages.formats.pretraining import METRICS, Row, best_evaluation, sentence
from stages.formats.shards import Shards
from stages.handover import storage
from stages.handover.manifests import write_json
from stages.tpu_train import checkpoints, reference
from stages.tpu_train.files import BEST, LOSSES, Workspace
from stages.tpu_train.foreign import damaged_file
from stages.tpu_train.options import Options
from stages.tpu_train.tensorflow_albert import find_tpu, modeling, run_pretraining, tf

CONFIG = "albert_config.json"
# Steps between two rows of train_loss.tsv; fewer in runs of under 10,000 steps.
LOSS_EVERY = 100


class Watch(tf.train.SessionRunHook):  # type: ignore[misc,unused-ignore]
    """Collects the training loss, shows progress, and ends training after the step in which a signal comes.

    A row is the mean of the losses since the row before; a TPU reports one loss per loop. The file is written just
    before each checkpoint, so it is never behind it. After an interruption it may be ahead: ``read_losses`` drops the
    rows after the checkpoint.
    """

    def __init__(self, options: Options, out: str, step: int, stop: Stop) -> None:
        self.out, self.batch, self.stop = out, options.batch, stop
        self.rows = checkpoints.read_losses(out, step)
        self.every = max(1, min(LOSS_EVERY, options.steps // 100))
        self.progress = Progress("tpu-train", "steps", options.steps - step)

    def begin(self) -> None:
        self.loss = tf.get_collection(tf.GraphKeys.LOSSES)[-1]
        self.global_step = tf.train.get_or_create_global_step()

    def after_create_session(self, session: Any, coord: Any) -> None:
        self.stop.training = True
        self.step = self.first = int(session.run(self.global_step))
        self.start = time.monotonic()
        self.losses: List[float] = []

    def before_run(self, run_context: Any) -> Any:
        return tf.train.SessionRunArgs(self.loss)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        step = int(run_context.session.run(self.global_step))
        self.losses.append(float(run_values.results))
        speed = (step - self.first) * self.batch / (time.monotonic() - self.start)
        self.progress.add(step - self.step, f"loss {self.losses[-1]:.3f}, {speed:,.0f} examples/s")
        if not self.rows or step // self.every > self.step // self.every:
            self._add_row(step)
        self.step = step
        if self.stop.signum is not None:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        if self.losses:
            self._add_row(self.step)
        checkpoints.write_losses(self.out, self.rows)

    def _add_row(self, step: int) -> None:
        self.rows.append((step, sum(self.losses) / len(self.losses)))
        self.losses = []


class SaveHook(tf.train.CheckpointSaverHook):  # type: ignore[misc,unused-ignore]
    """Saves a checkpoint at the start and at the end of each interval, unless that step has one.

    TensorFlow writes the index under its final name, so a checkpoint that is saved again is incomplete for a while.
    """

    def __init__(self, out: str, steps: int) -> None:
        super().__init__(out, save_steps=steps + 1)
        self.out = out

    def _save(self, session: Any, step: int) -> Any:
        return None if step in dict(checkpoints.saved(self.out)) else super()._save(session, step)


def train(options: Options, workspace: Workspace, config: Dict[str, Any], stop: Stop) -> Dict[str, Any]:
    """Train to ``options.steps`` from the last checkpoint in OUT. Return the best evaluation.

    The caller has claimed OUT and writes the manifest. Intervals of ``save_every`` steps end in a checkpoint and its
    evaluation on the held-out shards; each is published. A signal in ``stop`` raises ``Stopped`` after the checkpoint
    of its step.
    """
    out, shards = workspace.out, workspace.shards
    write_json(storage.join(out, CONFIG), config)
    step = checkpoints.last_step(out, options.out)
    estimator = _estimator(options, workspace, config)
    train_input = run_pretraining.input_fn_builder(
        shards.paths(shards.train), shards.seq_length, shards.max_predictions, is_training=True
    )
    with _refusals(options, shards):
        rows = _evaluate_new(estimator, options, workspace)
        watch = Watch(options, out, step, stop)
        while step < options.steps:
            step = min(options.steps, (step // options.save_every + 1) * options.save_every)
            try:
                # Hooks end in this order.
                estimator.train(train_input, max_steps=step, hooks=[watch, SaveHook(out, options.steps)])
            finally:
                stop.training = False
            workspace.publish()
            if stop.signum is not None:
                watch.progress.close()
                raise Stopped(stop.signum, checkpoints.saved(out)[-1][0])
            rows = _evaluate_new(estimator, options, workspace)
        watch.progress.close()
    best = best_evaluation(rows)
    assert best is not None, "the last step was evaluated"
    prefix = storage.join(out, BEST)
    reference.write_reference(prefix, config, prefix + ".reference.npz")
    return best


def output_files(out: str) -> List[str]:
    """The names of the files that the manifest of a finished run lists."""
    outputs = (CONFIG, checkpoints.EVALUATIONS, checkpoints.PUBLISHED, LOSSES)
    return [name for name in storage.names(out) if name in outputs or name.startswith(BEST + ".")]


def _estimator(options: Options, workspace: Workspace, config: Dict[str, Any]) -> Any:
    tpu = run_pretraining.contrib_tpu
    model_fn = run_pretraining.model_fn_builder(
        albert_config=modeling.AlbertConfig.from_dict(config),
        init_checkpoint=workspace.init_checkpoint,
        learning_rate=options.rate,
        num_train_steps=options.steps,
        num_warmup_steps=options.warmup_steps,
        use_tpu=options.on_tpu,
        use_one_hot_embeddings=options.on_tpu,
        optimizer="lamb",
        poly_power=1.0,
        start_warmup_step=0,
    )
    return tpu.TPUEstimator(
        use_tpu=options.on_tpu,
        model_fn=model_fn,
        train_batch_size=options.batch,
        eval_batch_size=options.eval_batch,
        config=tpu.RunConfig(
            cluster=find_tpu(options) if options.on_tpu else None,
            model_dir=workspace.out,
            tf_random_seed=options.seed,
            save_checkpoints_secs=None,
            save_summary_steps=LOSS_EVERY,
            # One is enough for the run: each is evaluated before training continues. The others are for a person.
            keep_checkpoint_max=5,
            tpu_config=tpu.TPUConfig(
                iterations_per_loop=options.iterations_per_loop,
                num_shards=options.num_tpu_cores,
                per_host_input_for_training=tpu.InputPipelineConfig.PER_HOST_V2,
            ),
        ),
    )


def _evaluate_new(estimator: Any, options: Options, workspace: Workspace) -> List[Row]:
    """Evaluate the checkpoints without a row, copy the best one, and publish both. Return all rows.

    A checkpoint after a signal has no evaluation unless an uninterrupted run has one at this step. So interruptions
    change neither the comparison nor its cost.
    """
    out, shards, batch = workspace.out, workspace.shards, options.eval_batch
    examples = min(shards.held_out_examples, options.eval_steps * batch)
    if options.on_tpu:
        # A TPU takes whole batches only.
        examples -= examples % batch
    single = run_pretraining.input_fn_builder(
        shards.paths(shards.held_out), shards.seq_length, shards.max_predictions, is_training=False
    )

    def input_fn(params: Dict[str, Any]) -> Any:
        """Each example once. Google's evaluation input repeats its files and drops the last part of a batch."""
        dataset = single({"batch_size": 1}).take(examples).apply(tf.data.experimental.unbatch())
        return dataset.batch(params["batch_size"], drop_remainder=options.on_tpu)

    paths = dict(checkpoints.saved(out))
    # Rows after the last checkpoint are of removed checkpoints, whose steps are trained again.
    rows = [row for row in checkpoints.read_evaluations(out, options.out) if row["step"] <= max(paths, default=0)]
    due = {step for step in paths if step % options.save_every == 0 or step == options.steps}
    for step in sorted(due - {row["step"] for row in rows}):
        path = paths[step]
        checkpoints.read_through(path, storage.join(options.out, storage.name_of(path)))
        values = estimator.evaluate(input_fn, steps=-(-examples // batch), checkpoint_path=path)
        row = {name: float(values[name]) for name in METRICS}
        rows = sorted([*rows, dict(row, step=step, examples=examples)], key=lambda row: row["step"])
        checkpoints.write_evaluations(out, rows)
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{clear}tpu-train: step {step:,}: {sentence(row)}", file=sys.stderr)
    best = best_evaluation(rows)
    if best is not None and best["step"] in paths:
        checkpoints.keep_best(out, paths[best["step"]], best)
    workspace.publish()
    return rows


@contextlib.contextmanager
def _refusals(options: Options, shards: Shards) -> Iterator[None]:
    """TensorFlow's errors about data and loss as ``Refusal``."""
    try:
        yield
    except tf.train.NanLossDuringTrainingError:
        raise Refusal(
            "the loss is not a number; train in another folder with a lower --learning-rate or a longer --warmup "
            f"({options.out} keeps the checkpoints before that)"
        )
    except tf.errors.DataLossError as error:
        # TensorFlow's error does not name the file.
        print("tpu-train: looking for the damaged file", file=sys.stderr)
        path = damaged_file(shards) or f"a file of {options.tfrecords}"
        fault = str(error.message).partition("\n")[0]
        raise Refusal(f"{path} is damaged; make the TFRecords again, then the same command resumes ({fault})")
