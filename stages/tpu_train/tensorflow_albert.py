"""TensorFlow 1.15 and Google's ALBERT without their warnings, with the flags of ALBERT's run_pretraining module."""

import importlib
import inspect
import os
import sys
import warnings
from typing import Any

from stages.command.refusal import Refusal

# 2: native errors alone. The warnings of TensorFlow 1.15 on a CPU need no action.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

with warnings.catch_warnings():
    # TensorFlow 1.15's generated code raises numpy deprecations at import.
    warnings.simplefilter("ignore")
    tf: Any = importlib.import_module("tensorflow")
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    modeling: Any = importlib.import_module("albert.modeling")
    run_pretraining: Any = importlib.import_module("albert.run_pretraining")

# TensorFlow imports the functions that it generates from files in TMPDIR, and would leave their bytecode there.
sys.dont_write_bytecode = True

if not tf.__version__.startswith("1.15."):
    raise Refusal("this is TensorFlow %s, 1.15.5 is needed; make venv/tpu-train" % tf.__version__)
if "compression_type" not in inspect.getsource(run_pretraining):
    raise Refusal("the albert package is not patched; run python -m stages.tpu_train.patch_albert once")

tf.flags.DEFINE_string("compression_type", "GZIP", "Compression of the TFRecords.")
tf.flags.DEFINE_integer("masked_lm_budget", 0, "0: the masked positions are those in the TFRecords.")
tf.flags.DEFINE_bool("init_from_group0", False, "Fill every hidden group of the model from group 0 of a checkpoint.")
tf.flags.FLAGS.mark_as_parsed()
