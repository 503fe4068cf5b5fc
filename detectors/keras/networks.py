"""The Keras networks by name, which is what configurations say under `keras_network`."""

import difflib
from collections.abc import Iterable

import keras

from ...storage.errors import UsageError
from .centernet import CenterNet
from .mask_rcnn import MaskRCNN

NETWORKS = {
    "centernet_resnet50v2_512x512": CenterNet,
    "mask_rcnn_inception_resnet_v2_1024x1024": MaskRCNN,
}
PRECISIONS = ("float32", "bfloat16")


def find_network(name: str) -> type[keras.Model]:
    """The class of a network.

    Raises:
      UsageError: if there's no such network.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        raise UsageError(
            f"Keras network {name!r}: there's none of that name{f'; did you mean {near[0]!r}?' if near else ''} "
            f"Known: {', '.join(NETWORKS)}"
        )
    return NETWORKS[name]


def check_outputs(name: str, wanted: Iterable[str], option: str = "--keep") -> None:
    """Checks that a network has these outputs, which were asked for with `option`.

    Raises:
      UsageError: names the first that it doesn't have, and those that it has.
    """
    names = find_network(name).output_names
    for output in wanted:
        if output not in names:
            raise UsageError(f"{option} {output}: {name} has no such output; it has {', '.join(names)}")


def build_network(name: str, precision: str = "float32") -> keras.Model:
    """A network without weights; `weights.load_weights` fills it.

    Raises:
      UsageError: if there's no such network or precision.
    """
    network = find_network(name)
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
    if keras.config.image_data_format() != "channels_last":
        raise UsageError(
            "--engine keras: Keras' configuration says image_data_format channels_first, the networks "
            "need channels_last; change it in ~/.keras/keras.json"
        )
    return network(precision, name=name)
