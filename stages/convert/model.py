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
    """Write config.json and model.safetensors. Returns the number of parameters.

    compact: write the weights as float16. config.json names float32, the type in which they are loaded.
    """
    with torch.device("meta"):
        model = AlbertForPreTraining(AlbertConfig(**config))
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    # The decoder is tied to the embeddings, and its bias has two names.
    state["predictions.decoder.weight"] = state["albert.embeddings.word_embeddings.weight"]
    state["predictions.decoder.bias"] = state["predictions.bias"]
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    try:
        tensors = model.state_dict()
        if compact:
            halves = {tensor.data_ptr(): tensor.half() for tensor in tensors.values()}  # tied weights stay one tensor
            tensors = {name: halves[tensor.data_ptr()] for name, tensor in tensors.items()}
        model.save_pretrained(folder, state_dict=tensors)
    except SafetensorError as error:
        # The error holds the system's error number only in its text: "… No space left on device (os error 28)".
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else error
    return sum(array.size for array in arrays.values())
