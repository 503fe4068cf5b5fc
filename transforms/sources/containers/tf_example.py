"""The tf.Example message, so that neither listing nor fetching images has to import TensorFlow."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

# Names and numbers of tensorflow/core/example/example.proto and feature.proto.
_PROTO = """
name: "labelbeam/tf_example.proto" package: "tensorflow" syntax: "proto3"
message_type {
  name: "BytesList"
  field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "FloatList"
  field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED }
}
message_type {
  name: "Int64List"
  field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED }
}
message_type {
  name: "Feature"
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".tensorflow.BytesList" label: LABEL_OPTIONAL }
  field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".tensorflow.FloatList" label: LABEL_OPTIONAL }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".tensorflow.Int64List" label: LABEL_OPTIONAL }
}
message_type {
  name: "Features"
  field {
    name: "feature" number: 1 type: TYPE_MESSAGE type_name: ".tensorflow.Features.FeatureEntry" label: LABEL_REPEATED
  }
  nested_type {
    name: "FeatureEntry"
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".tensorflow.Feature" label: LABEL_OPTIONAL }
    options { map_entry: true }
  }
}
message_type {
  name: "Example"
  field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".tensorflow.Features" label: LABEL_OPTIONAL }
}
"""

_pool = descriptor_pool.DescriptorPool()  # of its own: TensorFlow registers the same names in protobuf's default pool
_pool.AddSerializedFile(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()).SerializeToString())
Example = message_factory.GetMessageClass(_pool.FindMessageTypeByName("tensorflow.Example"))


def first_bytes(example, name: str) -> bytes | None:
    """The first value of a feature of bytes, or None where the example hasn't got it."""
    features = example.features.feature
    values = features[name].bytes_list.value if name in features else ()  # asking for a missing key would add it
    return values[0] if values else None


def value_of(example, name: str) -> Any:
    """A feature's value: text, a whole number or a number, a list of them where there are several, None without any."""
    if name not in example.features.feature:
        return None
    feature = example.features.feature[name]
    texts = [value.decode("utf-8", "surrogateescape") for value in feature.bytes_list.value]
    values = texts or list(feature.int64_list.value) or list(feature.float_list.value)
    return values[0] if len(values) == 1 else values or None


def first_text(example, name: str) -> str:
    """The first value of a feature as text, whether it's stored as bytes or as a number; empty where there's none."""
    if (value := first_bytes(example, name)) is not None:
        return value.decode("utf-8", "surrogateescape")
    features = example.features.feature
    values = features[name].int64_list.value if name in features else ()
    return str(values[0]) if values else ""
