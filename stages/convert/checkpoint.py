"""A TensorFlow checkpoint (`.index` and `.data-…` files) → its variables as numpy arrays, without TensorFlow.

The index is a sorted table in LevelDB's format with BundleEntryProto messages as values
(tensorflow/core/protobuf/tensor_bundle.proto). The data files hold the bytes of the tensors. Every checksum is
compared.
"""

import os
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
# tensorflow/core/framework/types.proto. Weights are floats, the step is an int64.
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
BEST = "model.ckpt-best"


class BadCheckpoint(ValueError):
    """The fault of a checkpoint, with the name of the file."""


class Variable(NamedTuple):
    """The place of a variable's bytes."""

    shape: tuple[int, ...]
    dtype: int
    shard: int
    offset: int
    size: int
    crc: int


class Checkpoint:
    """The variables of a checkpoint, by name. `read` loads an array."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        index = prefix + ".index"
        with open(index, "rb") as stream:
            data = stream.read()
        self.variables: dict[str, Variable] = {}
        self.shards = 0
        try:
            for key, value in _table(data):
                if not key:
                    self.shards = Header.FromString(value).num_shards
                    continue
                entry = Entry.FromString(value)
                if entry.slices:
                    raise BadCheckpoint(f"variable {key.decode()} is stored in slices, which is not supported")
                self.variables[key.decode()] = Variable(
                    tuple(dim.size for dim in entry.shape.dim),
                    entry.dtype, entry.shard_id, entry.offset, entry.size, entry.crc32c,
                )  # fmt: skip
        except BadCheckpoint as error:
            raise BadCheckpoint(f"{index}: {error}")
        except (DecodeError, IndexError, struct.error, UnicodeDecodeError):
            raise BadCheckpoint(f"{index} is damaged or not the index of a TensorFlow checkpoint")

    def data_files(self) -> list[str]:
        """The paths of the data files, in order."""
        return [f"{self.prefix}.data-{shard:05d}-of-{self.shards:05d}" for shard in range(self.shards)]

    def read(self, name: str) -> NDArray[Any]:
        """The array of a variable. Raises KeyError (no such variable), BadCheckpoint, OSError."""
        variable = self.variables[name]
        if variable.dtype not in DTYPES:
            raise BadCheckpoint(f"variable {name} has a type that is not supported (number {variable.dtype})")
        return np.frombuffer(self._bytes(name), DTYPES[variable.dtype]).reshape(variable.shape)

    def check(self) -> None:
        """Read every variable, also the optimizer's, to detect a damaged file. Raises BadCheckpoint, OSError."""
        for name, variable in self.variables.items():
            if variable.dtype in DTYPES:
                self._bytes(name)

    def _bytes(self, name: str) -> bytes:
        variable = self.variables[name]
        path = self.data_files()[variable.shard]
        with open(path, "rb") as stream:
            stream.seek(variable.offset)
            data = stream.read(variable.size)
        if len(data) != variable.size or _masked_crc(data) != variable.crc:
            raise BadCheckpoint(f"{path}: the bytes of variable {name} are damaged (length or CRC-32C)")
        return data


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a table, in order."""
    if len(data) < FOOTER or struct.unpack_from("<Q", data, len(data) - 8)[0] != MAGIC:
        raise BadCheckpoint("it is cut short, or not the index of a TensorFlow checkpoint")
    position = len(data) - FOOTER
    for _ in range(2):  # the handle of the meta index, which is empty
        _, position = _varint(data, position)
    for _, handle in _block(data, *_handle(data, position)):
        yield from _block(data, *_handle(handle, 0))


def _handle(data: bytes, position: int) -> tuple[int, int]:
    """The offset and the size of a block."""
    offset, position = _varint(data, position)
    size, _ = _varint(data, position)
    return offset, size


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block. A key is stored without the prefix that it shares with the previous key."""
    content = data[offset : offset + size + 1]
    (crc,) = struct.unpack_from("<I", data, offset + size + 1)
    if _masked_crc(content) != crc:
        raise BadCheckpoint(f"the block at byte {offset} is damaged (CRC-32C)")
    if content[-1]:
        raise BadCheckpoint("it is compressed, but TensorFlow's own checkpoints are not")
    (restarts,) = struct.unpack_from("<I", content, size - 4)
    end = size - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _varint(content, position)
        unshared, position = _varint(content, position)
        length, position = _varint(content, position)
        key = key[:shared] + content[position : position + unshared]
        position += unshared
        yield key, content[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _message_classes() -> tuple[Any, Any]:
    """The classes of the index's two messages, with the field names and numbers of tensor_bundle.proto."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="checkpoint_index.proto", package="albert_ja", syntax="proto3")

    def add(message: str, *fields: tuple[str, int, Any, bool, str | None]) -> None:
        descriptor = file.message_type.add(name=message)
        for name, number, kind, repeated, type_name in fields:
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            descriptor.field.add(name=name, number=number, type=kind, label=label, type_name=type_name)

    integer, nested = field.TYPE_INT64, field.TYPE_MESSAGE
    add("Header", ("num_shards", 1, field.TYPE_INT32, False, None))
    add("Dim", ("size", 1, integer, False, None))
    add("Shape", ("dim", 2, nested, True, ".albert_ja.Dim"))
    add("Slice", ("extent", 1, field.TYPE_BYTES, True, None))
    add(
        "Entry",
        ("dtype", 1, field.TYPE_INT32, False, None),
        ("shape", 2, nested, False, ".albert_ja.Shape"),
        ("shard_id", 3, field.TYPE_INT32, False, None),
        ("offset", 4, integer, False, None),
        ("size", 5, integer, False, None),
        ("crc32c", 6, field.TYPE_FIXED32, False, None),
        ("slices", 7, nested, True, ".albert_ja.Slice"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    header, entry = (pool.FindMessageTypeByName(f"albert_ja.{name}") for name in ("Header", "Entry"))
    return message_factory.GetMessageClass(header), message_factory.GetMessageClass(entry)


Header, Entry = _message_classes()


def open_prefix(path: str) -> str:
    """The prefix of a checkpoint for a path to the prefix, to one of its files, or to its folder."""
    for suffix in (".index", ".meta"):
        path = path.removesuffix(suffix)
    best = os.path.join(path, BEST)
    return best if os.path.isdir(path) and os.path.exists(best + ".index") else path
