"""A TensorFlow checkpoint (`.index` and `.data-…` files) → its variables as numpy arrays, without TensorFlow.

The index is a sorted table in LevelDB's format with BundleEntryProto messages as values
(tensorflow/core/protobuf/tensor_bundle.proto). The data files hold the bytes of the tensors. Every checksum is
compared.
"""

import math
import os
import struct
from collections.abc import Iterator
from typing import Any

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from stages.command.refusal import Refusal

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
# tensorflow/core/framework/types.proto. Weights are floats, the step is an int64.
DTYPES = {1: "float32", 2: "float64", 3: "int32", 9: "int64"}
# The fields of tensor_bundle.proto and tensor_shape.proto that are read.
DESCRIPTION = """
name: "checkpoint_index.proto"
syntax: "proto3"
message_type { name: "Header" field { name: "num_shards" number: 1 type: TYPE_INT32 } }
message_type { name: "Dim" field { name: "size" number: 1 type: TYPE_INT64 } }
message_type {
  name: "Shape" field { name: "dim" number: 2 type: TYPE_MESSAGE type_name: ".Dim" label: LABEL_REPEATED }
}
message_type {
  name: "Entry"
  field { name: "dtype" number: 1 type: TYPE_INT32 }
  field { name: "shape" number: 2 type: TYPE_MESSAGE type_name: ".Shape" }
  field { name: "shard_id" number: 3 type: TYPE_INT32 }
  field { name: "offset" number: 4 type: TYPE_INT64 }
  field { name: "size" number: 5 type: TYPE_INT64 }
  field { name: "crc32c" number: 6 type: TYPE_FIXED32 }
  field { name: "slices" number: 7 type: TYPE_BYTES label: LABEL_REPEATED }
}
"""
POOL = descriptor_pool.DescriptorPool()
POOL.Add(text_format.Parse(DESCRIPTION, descriptor_pb2.FileDescriptorProto()))
MESSAGES: Any = message_factory.GetMessageClassesForFiles(["checkpoint_index.proto"], POOL)


class Checkpoint:
    """The variables of a checkpoint: their entries in the index by name. `read` loads an array.

    `prefix` is on this machine; `name` is the prefix as the errors give it. Raises Refusal for a file that is missing
    or damaged, also where only the optimizer's variables are.
    """

    def __init__(self, prefix: str, name: str) -> None:
        self.name = name
        self.variables: dict[str, Any] = {}
        shards = 0
        try:
            with open(prefix + ".index", "rb") as stream:
                data = stream.read()
            for key, value in _table(data):
                if not key:
                    shards = MESSAGES["Header"].FromString(value).num_shards
                    continue
                entry = MESSAGES["Entry"].FromString(value)
                if entry.slices:
                    raise ValueError(f"variable {key.decode()} is stored in slices, which is not supported")
                self.variables[key.decode()] = entry
        except OSError as error:
            raise Refusal(
                f"cannot read {name}.index: {error.strerror}; --checkpoint takes the prefix of a TensorFlow "
                "checkpoint, such as …/model.ckpt-best, or the folder of a PyTorch one, such as …/best"
            )
        except (DecodeError, IndexError, OverflowError, struct.error, UnicodeDecodeError):
            raise Refusal(f"{name}.index is damaged or not the index of a TensorFlow checkpoint")
        except ValueError as error:
            raise Refusal(f"{name}.index: {error}")
        suffixes = [f".data-{shard:05d}-of-{shards:05d}" for shard in range(shards)]
        self.data_files = [prefix + suffix for suffix in suffixes]
        self._names = [name + suffix for suffix in suffixes]
        for path, shown in zip(self.data_files, self._names, strict=True):
            if not os.path.exists(path):
                raise Refusal(f"{shown} is missing; a checkpoint is its .index and all of its .data files")
        for variable, entry in self.variables.items():
            if entry.dtype in DTYPES:
                self.read(variable)

    def shape(self, variable: str) -> tuple[int, ...]:
        return tuple(dim.size for dim in self.variables[variable].shape.dim)

    def read(self, variable: str) -> NDArray[Any]:
        """The array of a variable of a type in DTYPES."""
        entry = self.variables[variable]
        shape, dtype = self.shape(variable), np.dtype(DTYPES[entry.dtype]).newbyteorder("<")
        with open(self.data_files[entry.shard_id], "rb") as stream:
            stream.seek(entry.offset)
            data = stream.read(entry.size)
        if len(data) != math.prod(shape) * dtype.itemsize or _masked_crc(data) != entry.crc32c:
            path = self._names[entry.shard_id]
            raise Refusal(f"{path}: the bytes of variable {variable} are damaged (length or CRC-32C)")
        array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
        return array


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a table, in order. Raises ValueError for its fault."""
    if len(data) < FOOTER or struct.unpack_from("<Q", data, len(data) - 8)[0] != MAGIC:
        raise ValueError("it is cut short, or not the index of a TensorFlow checkpoint")
    # The footer begins with the handles of the meta index, which is empty, and of the index.
    _, position = _numbers(data, len(data) - FOOTER, 2)
    for _, handle in _block(data, *_numbers(data, position, 2)[0]):
        yield from _block(data, *_numbers(handle, 0, 2)[0])


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block. A key is stored without the prefix that it shares with the previous key."""
    content = data[offset : offset + size + 1]
    (crc,) = struct.unpack_from("<I", data, offset + size + 1)
    if _masked_crc(content) != crc:
        raise ValueError(f"the block at byte {offset} is damaged (CRC-32C)")
    if content[-1]:
        raise ValueError("it is compressed, but TensorFlow's own checkpoints are not")
    (restarts,) = struct.unpack_from("<I", content, size - 4)
    end = size - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        (shared, unshared, length), position = _numbers(content, position, 3)
        key = key[:shared] + content[position : position + unshared]
        position += unshared
        yield key, content[position : position + length]
        position += length


def _numbers(data: bytes, position: int, count: int) -> tuple[list[int], int]:
    """`count` numbers of variable length from `position` on, and the position after them."""
    numbers = []
    for _ in range(count):
        value = shift = 0
        while data[position] > 127:
            value |= (data[position] & 127) << shift
            position, shift = position + 1, shift + 7
        numbers.append(value | data[position] << shift)
        position += 1
    return numbers, position


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
