"""The name of a Cloud TPU → where it listens, when it is ready and runs TensorFlow 1.15."""

from typing import Any

from stages.command.refusal import Refusal
from stages.tpu_train.options import Options
from stages.tpu_train.tensorflow_albert import run_pretraining

VERSION = "1.15"


def find(options: Options) -> Any:
    """TensorFlow's resolver of ``options.tpu_name``, which has been asked; ``Refusal`` says why there is none."""
    try:
        resolver = run_pretraining.contrib_cluster_resolver.TPUClusterResolver(
            options.tpu_name, zone=options.tpu_zone, project=options.gcp_project
        )
        resolver.get_master()
        known = {} if "://" in str(options.tpu_name) else resolver._fetch_cloud_tpu_metadata()
    except Exception as error:
        # Whatever the cloud's client libraries raise (no such node, no sign-in, no network) is one thing here.
        raise Refusal(
            "cannot find the TPU %s: %s; look at TPU_NAME and TPU_ZONE (--tpu-name, --tpu-zone)"
            % (options.tpu_name, (str(error) or type(error).__name__).partition("\n")[0])
        )
    runs = str(known.get("tensorflowVersion", VERSION))
    if not runs.startswith(VERSION):
        raise Refusal("the TPU %s runs TensorFlow %s, this program needs %s" % (options.tpu_name, runs, VERSION))
    return resolver
