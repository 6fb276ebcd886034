"""Cases (configuration, batches, options of the run) → what TensorFlow 1.15 and Google's ALBERT compute for them.

`python tensorflow_steps.py FOLDER` reads FOLDER/cases.json and FOLDER/NAME.batches.npz of each case, and writes
FOLDER/NAME.tensorflow.npz: variables and gradients before the first step; the losses and the rate of each step, and
variables and slots after it. FOLDER/schedule.npz: learning rates of each schedule of cases.json.
"""

import json
import os
import sys
import types
from typing import Any, Dict, List

import numpy as np

from scripts.bench.measured.training import FIELDS
from stages.tpu_train.tensorflow_albert import modeling, run_pretraining, tf

optimization: Any = run_pretraining.optimization
LAMB = optimization.lamb_optimizer.LAMBOptimizer
RATES: List[Any] = []


def recorded(learning_rate: Any, **others: Any) -> Any:
    """ALBERT's own optimizer, and its learning rate where it can be looked at."""
    RATES.append(learning_rate)
    return LAMB(learning_rate, **others)


optimization.lamb_optimizer = types.SimpleNamespace(LAMBOptimizer=recorded)


def steps(case: Dict[str, Any], batches: Dict[str, Any]) -> Dict[str, Any]:
    """What a case comes to; the batch of step n is `n/field`."""
    first = {name: batches["0/" + name] for name in FIELDS}
    features = {FIELDS[name]: tf.placeholder(array.dtype, array.shape) for name, array in first.items()}
    build = run_pretraining.model_fn_builder(
        modeling.AlbertConfig.from_dict(case["config"]), None, case["rate"], case["steps"], case["warmup"],
        use_tpu=False, use_one_hot_embeddings=False, optimizer="lamb", poly_power=1.0, start_warmup_step=0,
    )  # fmt: skip
    spec = build(features, None, tf.estimator.ModeKeys.TRAIN, {})
    variables = tf.trainable_variables()
    # The total loss is an addition of the two.
    masked_lm, order = spec.loss.op.inputs
    gradients = [tf.convert_to_tensor(gradient) for gradient in tf.gradients(spec.loss, variables)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        if case["random"]:
            random = np.random.RandomState(7)
            values = {}
            for variable in variables:
                mean = float(variable.name.endswith("gamma:0"))
                value = random.normal(mean, 0.1, variable.shape.as_list()).astype(np.float32)
                values[variable.initializer.inputs[1]] = value
            # At once: TensorFlow optimises the graph anew for each set of operations.
            session.run([variable.initializer for variable in variables], values)

        def fed(step: int) -> Dict[Any, Any]:
            return {features[FIELDS[name]]: batches["%d/%s" % (step, name)] for name in FIELDS}

        found = {"before/" + variable.op.name: array for variable, array in zip(variables, session.run(variables))}
        for variable, array in zip(variables, session.run(gradients, fed(0))):
            found["gradient/" + variable.op.name] = array
        everything = {variable.op.name: variable for variable in tf.global_variables()}
        for step in range(case["taken"]):
            losses = session.run([masked_lm, order, RATES[-1], spec.train_op], fed(step))[:3]
            found["%d/losses" % step], found["%d/rate" % step] = np.array(losses[:2]), losses[2]
            for name, array in session.run(everything).items():
                found["%d/after/%s" % (step, name)] = array
    return found


def schedule(peak: float, last: int, warmup: int, wanted: List[int]) -> Any:
    """The learning rates of the steps."""
    weight = tf.get_variable("weight", initializer=1.0)
    optimization.create_optimizer(tf.square(weight), peak, last, warmup, False, "lamb")
    step = tf.train.get_global_step()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = []
        for at in wanted:
            step.load(at, session)
            found.append(session.run(RATES[-1]))
    return np.array(found)


def main(folder: str) -> None:
    with open(os.path.join(folder, "cases.json")) as stream:
        cases = json.load(stream)
    for name, case in cases["steps"].items():
        with tf.Graph().as_default():
            found = steps(case, np.load(os.path.join(folder, name + ".batches.npz")))
        np.savez(os.path.join(folder, name + ".tensorflow.npz"), **found)
    rates = {}
    for number, given in enumerate(cases["schedules"]):
        with tf.Graph().as_default():
            rates[str(number)] = schedule(**given)
    np.savez(os.path.join(folder, "schedule.npz"), **rates)


if __name__ == "__main__":
    main(sys.argv[1])
