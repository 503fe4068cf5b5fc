"""Containers for tests, as the writers of their formats make them, and what is listed of them."""

import io
import random
import tarfile

from labelbeam.transforms.sources.containers import index_members, read_member
from labelbeam.transforms.sources.containers.tfrecord import masked_crc32c
from labelbeam.transforms.sources.inputs import ListOptions


def image_bytes(i, size=None):
    return random.Random(i).randbytes(size or 100 + 613 * i % 4000)


def index(path, **options):
    return list(index_members(str(path), ListOptions(**options)))


def listed(path, **options):
    """What comes behind the `#` of each member's URI, and the member's bytes."""
    references = index(path, **options)
    assert all(reference.uri.startswith(f"{path}#") for reference in references)
    return [(reference.uri.removeprefix(f"{path}#"), read_member(reference.location)) for reference in references]


def write_tar(path, files, tar_format=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=tar_format) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_tfrecord(path, examples, compression=""):
    """Through TensorFlow's own writer and messages; values are bytes, or whole numbers."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for example in examples:
            features = {}
            for name, value in example.items():
                kind = (
                    {"bytes_list": tf.train.BytesList(value=[value])}
                    if isinstance(value, bytes)
                    else {"int64_list": tf.train.Int64List(value=[value])}
                    if isinstance(value, int)
                    else {"float_list": tf.train.FloatList(value=value)}
                )
                features[name] = tf.train.Feature(**kind)
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


def tfrecord(data, length=None):
    """A record as it lies in the file, by hand; `length` is what it says of itself."""
    header = (len(data) if length is None else length).to_bytes(8, "little")
    return header + masked_crc32c(header).to_bytes(4, "little") + data + bytes(4)
