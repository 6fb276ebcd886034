"""A configuration and arrays under transformers' names → config.json and model.safetensors."""

import os
import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AlbertConfig, AlbertForPreTraining


def write_model(folder: str, config: dict[str, Any], arrays: dict[str, NDArray[np.float32]]) -> int:
    """Write config.json and model.safetensors; gives the number of parameters."""
    with torch.device("meta"):
        model = AlbertForPreTraining(AlbertConfig(**config))
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    # The decoder is tied to the embeddings and has its bias under two names.
    state["predictions.decoder.weight"] = state["albert.embeddings.word_embeddings.weight"]
    state["predictions.decoder.bias"] = state["predictions.bias"]
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        # It says what the system said in words alone: "… No space left on device (os error 28)".
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else error
    return sum(array.size for array in arrays.values())
