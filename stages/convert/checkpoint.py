"""A TensorFlow checkpoint (`.index` and `.data-…` files) → its variables as numpy arrays, without TensorFlow.

The index is a sorted table in LevelDB's format with BundleEntryProto messages as values
(tensorflow/core/protobuf/tensor_bundle.proto). The data files hold the bytes of the tensors. Every checksum is
compared.
"""

import io
import math
import struct
from collections.abc import Iterator
from typing import IO, Any

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.handover import storage

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
    """A checkpoint at a prefix, local or at gs://.

    `variables`: their entries in the index, by name; `read` gives an array. `files`: the content of the data files.
    Raises Refusal for a file that is missing or damaged, also where only the optimizer's variables are.
    """

    def __init__(self, prefix: str) -> None:
        self.variables: dict[str, Any] = {}
        index, shards = prefix + ".index", 0
        try:
            for key, value in _table(read_bytes(index)):
                if not key:
                    shards = MESSAGES["Header"].FromString(value).num_shards
                    continue
                entry = MESSAGES["Entry"].FromString(value)
                if entry.slices:
                    raise ValueError(f"variable {key.decode()} is stored in slices, which is not supported")
                self.variables[key.decode()] = entry
        except OSError as error:
            raise Refusal(
                f"cannot read {index}: {error.strerror}; --checkpoint takes the prefix of a TensorFlow "
                "checkpoint, such as …/model.ckpt-best, or the folder of a PyTorch one, such as …/best"
            )
        except (DecodeError, IndexError, OverflowError, struct.error, UnicodeDecodeError):
            raise Refusal(f"{index} is damaged or not the index of a TensorFlow checkpoint")
        except ValueError as error:
            raise Refusal(f"{index}: {error}")
        self.files: dict[str, bytes] = {}
        for shard in range(shards):
            path = f"{prefix}.data-{shard:05d}-of-{shards:05d}"
            try:
                self.files[path] = read_bytes(path)
            except FileNotFoundError:
                raise Refusal(f"{path} is missing; a checkpoint is its .index and all of its .data files")
        for name, entry in self.variables.items():
            if entry.dtype in DTYPES:
                self.read(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(dim.size for dim in self.variables[name].shape.dim)

    def read(self, name: str) -> NDArray[Any]:
        """The array of a variable of a type in DTYPES."""
        entry = self.variables[name]
        shape, dtype = self.shape(name), np.dtype(DTYPES[entry.dtype]).newbyteorder("<")
        path, content = list(self.files.items())[entry.shard_id]
        data = content[entry.offset : entry.offset + entry.size]
        if len(data) != math.prod(shape) * dtype.itemsize or _masked_crc(data) != entry.crc32c:
            raise Refusal(f"{path}: the bytes of variable {name} are damaged (length or CRC-32C)")
        array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
        return array


def read_bytes(path: str) -> bytes:
    with storage.reading(path) as stream:
        return stream.read()


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a table, in order. Raises ValueError for its fault."""
    if len(data) < FOOTER or struct.unpack_from("<Q", data, len(data) - 8)[0] != MAGIC:
        raise ValueError("it is cut short, or not the index of a TensorFlow checkpoint")
    footer = io.BytesIO(data[-FOOTER:])
    _number(footer), _number(footer)  # the place of the meta index, which is empty
    for _, place in _block(data, footer):
        yield from _block(data, io.BytesIO(place))


def _block(data: bytes, place: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block. A key is stored without the prefix that it shares with the previous key."""
    offset, size = _number(place), _number(place)
    content = data[offset : offset + size + 1]
    (crc,) = struct.unpack_from("<I", data, offset + size + 1)
    if _masked_crc(content) != crc:
        raise ValueError(f"the block at byte {offset} is damaged (CRC-32C)")
    if content[-1]:
        raise ValueError("it is compressed, but TensorFlow's own checkpoints are not")
    (restarts,) = struct.unpack_from("<I", content, size - 4)
    end = size - 4 * (restarts + 1)
    stream, key = io.BytesIO(content), b""
    while stream.tell() < end:
        shared, unshared, length = _number(stream), _number(stream), _number(stream)
        key = key[:shared] + stream.read(unshared)
        yield key, stream.read(length)


def _number(stream: IO[bytes]) -> int:
    """The next number, in seven bits of each byte."""
    value = shift = 0
    while True:
        byte = stream.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
        shift += 7


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
