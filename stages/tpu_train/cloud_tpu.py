"""The name of a Cloud TPU → its address, if it is ready and runs TensorFlow 1.15."""

from typing import Any

from stages.command.refusal import Refusal
from stages.tpu_train.options import Options
from stages.tpu_train.tensorflow_albert import run_pretraining

VERSION = "1.15"


def find(options: Options) -> Any:
    """TensorFlow's resolver of ``options.tpu_name``, after a request to it; ``Refusal`` if the TPU is not usable."""
    try:
        resolver = run_pretraining.contrib_cluster_resolver.TPUClusterResolver(
            options.tpu_name, zone=options.tpu_zone, project=options.gcp_project
        )
        resolver.get_master()
        metadata = {} if "://" in str(options.tpu_name) else resolver._fetch_cloud_tpu_metadata()
    except Exception as error:
        # The cloud's client libraries raise many types: no such node, no sign-in, no network.
        raise Refusal(
            "cannot find the TPU %s: %s; look at TPU_NAME and TPU_ZONE (--tpu-name, --tpu-zone)"
            % (options.tpu_name, (str(error) or type(error).__name__).partition("\n")[0])
        )
    version = str(metadata.get("tensorflowVersion", VERSION))
    if not version.startswith(VERSION):
        raise Refusal("the TPU %s runs TensorFlow %s, this program needs %s" % (options.tpu_name, version, VERSION))
    return resolver
