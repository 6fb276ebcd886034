"""The options of convert, and of push, which sends a model folder to the Hugging Face Hub."""

import argparse
import re
from dataclasses import dataclass
from typing import Optional

from stages.command.folders import Environment, may_exist, model, size, trainer, training
from stages.command.options import REQUIRED, option, path

# user/name, as the Hub has them: letters, digits, "-", "_" and ".", 96 at most, without "--", ".." and a last ".git".
REPOSITORY = re.compile(r"(?!.*(--|\.\.|\.git$))(?=.{3,96}$)[A-Za-z0-9]([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)


def _licence(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no licence's name at the Hub, such as apache-2.0 or cc-by-sa-4.0"
        )
    return text


def _checkpoint(environment: Environment) -> str:
    """The best checkpoint of MODEL and SIZE: of train where TRAINER=torch, or where tpu-train has left none."""
    chosen = trainer(environment)
    place = f"{model(environment)}/{size(environment)}"
    tensorflow = f"{training(environment)}/checkpoints/{place}/model.ckpt-best"
    pytorch = f"{training(environment)}/runs/{place}/best"
    missing = not may_exist(tensorflow + ".index") and may_exist(pytorch)
    return pytorch if chosen == "torch" or (not chosen and missing) else tensorflow


@dataclass(frozen=True)
class Options:
    checkpoint: str = path(
        _checkpoint,
        "TensorFlow checkpoint, such as …/model.ckpt-best, or the folder of a PyTorch one, such as …/best (default: "
        "that of MODEL and SIZE)",
    )
    config: Optional[str] = path(None, "its configuration (default: albert_config.json beside it)")
    vocab: str = path("{data}/vocab/{model}/vocab.txt", "its vocabulary")
    out: str = path("{models}/{model}/{size}", "the model folder")
    subwords: Optional[str] = option(
        None,
        "(default: wordpiece where the vocabulary has ## entries)",
        choices=("wordpiece", "character"),
        decides=True,
    )
    verify: bool = option(
        False,
        "compare the logits with TensorFlow's or PyTorch's of the checkpoint; a difference of 1e-4 is an error",
        decides=True,
    )
    compact: bool = option(
        False,
        "half the size: weights as float16, in model.onnx token embeddings as int8; logits change in the second "
        "decimal, those of model.onnx in the first",
        decides=True,
    )
    reference: Optional[str] = path(None, "TensorFlow's logits (default: PREFIX.reference.npz, which training leaves)")
    tfrecords: Optional[str] = path(
        "{training}/tfrecords/{model}", "what the model was trained on, for the model card", if_there=True
    )
    corpus: Optional[str] = path(
        "{data}/corpus", "what the TFRecords were made from, for the model card", if_there=True
    )
    license: Optional[str] = option(
        None,
        "licence of the weights, as the Hub calls it (default: cc-by-sa-4.0 where the corpus is known to be "
        "Wikipedia's, else none is named)",
        unit="ID",
        checked=_licence,
        decides=True,
    )


@dataclass(frozen=True)
class Push:
    """The options of push."""

    model: str = path("{models}/{model}/{size}", "model folder that convert wrote")
    repo: str = option(REQUIRED, "repository at the Hub; made where it is not there", unit="USER/NAME")
    public: bool = option(False, "make the new repository one that everyone sees (default: private)")
    message: str = option("Upload model", "the commit's message", unit="TEXT")
    confirm: bool = option(False, "upload; without it nothing is sent")

    def conflict(self) -> Optional[str]:
        if REPOSITORY.fullmatch(self.repo):
            return None
        return f"--repo is {self.repo!r}; it is user/name, of letters, digits, '-', '_' and '.', 96 at most"
