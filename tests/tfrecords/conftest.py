"""protobuf's own class for tf.train.Example, from a description of example.proto and feature.proto."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


@pytest.fixture(scope="session")
def example_class() -> Any:
    """The message class `Example`: `FromString(bytes).features.feature[name].int64_list.value`."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def add(message: Any, name: str, number: int, kind: Any, repeated: bool = False, of: str | None = None) -> None:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        message.field.add(name=name, number=number, type=kind, label=label, type_name=of)

    add(file.message_type.add(name="BytesList"), "value", 1, field.TYPE_BYTES, True)
    add(file.message_type.add(name="FloatList"), "value", 1, field.TYPE_FLOAT, True)
    add(file.message_type.add(name="Int64List"), "value", 1, field.TYPE_INT64, True)
    feature = file.message_type.add(name="Feature")
    for number, kind in enumerate(("Bytes", "Float", "Int64"), 1):
        add(feature, f"{kind.lower()}_list", number, field.TYPE_MESSAGE, False, f".t.{kind}List")
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, False, ".t.Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, True, ".t.Features.FeatureEntry")
    add(file.message_type.add(name="Example"), "features", 1, field.TYPE_MESSAGE, False, ".t.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))
