"""A configuration and arrays under transformers' names → config.json and model.safetensors."""

import os
import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AlbertConfig, AlbertForPreTraining


def write_model(
    folder: str, config: dict[str, Any], arrays: dict[str, NDArray[np.float32]], compact: bool = False
) -> int:
    """Write config.json and model.safetensors; gives the number of parameters.

    compact: the weights as float16. They are read as float32, which config.json names.
    """
    with torch.device("meta"):
        model = AlbertForPreTraining(AlbertConfig(**config))
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    # The decoder is tied to the embeddings and has its bias under two names.
    state["predictions.decoder.weight"] = state["albert.embeddings.word_embeddings.weight"]
    state["predictions.decoder.bias"] = state["predictions.bias"]
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    try:
        kept = model.state_dict()
        if compact:
            halves = {tensor.data_ptr(): tensor.half() for tensor in kept.values()}  # tied ones stay one
            kept = {name: halves[tensor.data_ptr()] for name, tensor in kept.items()}
        model.save_pretrained(folder, state_dict=kept)
    except SafetensorError as error:
        # It says what the system said in words alone: "… No space left on device (os error 28)".
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else error
    return sum(array.size for array in arrays.values())
