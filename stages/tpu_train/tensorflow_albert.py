"""TensorFlow 1.15 and Google's ALBERT without their warnings, with the flags of its run_pretraining; the Cloud TPU."""

import importlib
import inspect
import os
import sys
import warnings
from typing import Any

from stages.command.refusal import Refusal
from stages.tpu_train.options import Options

VERSION = "1.15"
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

if not tf.__version__.startswith(VERSION + "."):
    raise Refusal(f"this is TensorFlow {tf.__version__}, 1.15.5 is needed; make venv/tpu-train")
if "compression_type" not in inspect.getsource(run_pretraining):
    raise Refusal("the albert package is not patched; run python -m stages.tpu_train.patch_albert once")

tf.flags.DEFINE_string("compression_type", "GZIP", "Compression of the TFRecords.")
tf.flags.DEFINE_integer("masked_lm_budget", 0, "0: the masked positions are those in the TFRecords.")
tf.flags.DEFINE_bool("init_from_group0", False, "Fill every hidden group of the model from group 0 of a checkpoint.")
tf.flags.FLAGS.mark_as_parsed()


def find_tpu(options: Options) -> Any:
    """TensorFlow's resolver of ``options.tpu_name``, after a request to it; ``Refusal`` if the TPU is not usable."""
    try:
        resolver = run_pretraining.contrib_cluster_resolver.TPUClusterResolver(
            options.tpu_name, zone=options.tpu_zone, project=options.gcp_project
        )
        resolver.get_master()
        metadata = {} if "://" in str(options.tpu_name) else resolver._fetch_cloud_tpu_metadata()
    except Exception as error:
        # The cloud's client libraries raise many types: no such node, no sign-in, no network.
        fault = (str(error) or type(error).__name__).partition("\n")[0]
        remedy = "look at TPU_NAME and TPU_ZONE (--tpu-name, --tpu-zone)"
        raise Refusal(f"cannot find the TPU {options.tpu_name}: {fault}; {remedy}")
    version = str(metadata.get("tensorflowVersion", VERSION))
    if not version.startswith(VERSION):
        raise Refusal(f"the TPU {options.tpu_name} runs TensorFlow {version}, this program needs {VERSION}")
    return resolver
