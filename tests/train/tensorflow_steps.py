"""A configuration and a batch → what ALBERT's own program makes of them, under TensorFlow 1.15: OUT.npz.

Run by .venv/tpu-train: tensorflow_steps.py CONFIG.json BATCH.npz OUT.npz PEAK STEPS WARMUP STEP…. Everything is
Google's: the model, both heads, the schedule, the clipping, LAMB.
"""

import json
import sys

import numpy as np

from stages.tpu_train.tensorflow_albert import modeling, run_pretraining, tf

from albert import optimization  # isort: skip

config_path, batch_path, out = sys.argv[1:4]
peak, (steps, warmup, *numbers) = float(sys.argv[4]), map(int, sys.argv[5:])
with open(config_path) as stream:
    config = modeling.AlbertConfig.from_dict(json.load(stream))
batch = np.load(batch_path)
tf.set_random_seed(3)
names = ("ids", "mask", "segments", "positions", "labels", "weights", "swapped")
ids, mask, segments, positions, labels, weights, swapped = (tf.constant(batch[name]) for name in names)
model = modeling.AlbertModel(config, is_training=True, input_ids=ids, input_mask=mask, token_type_ids=segments)
masked_loss, _, masked_scores = run_pretraining.get_masked_lm_output(
    config, model.get_sequence_output(), model.get_embedding_table(), positions, labels, weights
)
order_loss, _, order_scores = run_pretraining.get_sentence_order_output(config, model.get_pooled_output(), swapped)
loss = masked_loss + order_loss
variables = tf.trainable_variables()
keys = [variable.name[:-2] for variable in variables]
gradients = tf.gradients(loss, variables)
gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
norm = tf.global_norm(gradients)
step = optimization.create_optimizer(loss, peak, steps, warmup, use_tpu=False, optimizer="lamb")
found = {}
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for key, value in zip(keys, session.run(variables)):
        found["drawn/" + key] = value
    # Biases and layer normalisation too are away from where they begin, so that nothing that is mixed up goes unseen.
    random = np.random.RandomState(5)
    for variable, value in zip(variables, session.run(variables)):
        variable.load(value + 0.05 * random.randn(*value.shape).astype(np.float32), session)
    found.update({"before/" + key: value for key, value in zip(keys, session.run(variables))})
    found["masked_lm_loss"], found["order_loss"], found["norm"] = session.run([masked_loss, order_loss, norm])
    found.update({"gradient/" + key: value for key, value in zip(keys, session.run(gradients))})
    found["losses"] = np.zeros(len(numbers))
    for place, number in enumerate(numbers):
        found["losses"][place] = session.run(loss)
        # Without being told, the schedule reads the step before or after it is increased: on processors that is chance.
        session.run(step, {"global_step/read:0": number})
        found.update({"after%d/%s" % (place, key): value for key, value in zip(keys, session.run(variables))})
np.savez(out, **found)
