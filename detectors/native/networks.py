"""The native networks by name. A network's name is its detector's, the stem of its file in `configs/detectors`."""
import difflib

import keras

from ..errors import UsageError
from .centernet import CenterNet
from .mask_rcnn import MaskRCNN

NETWORKS = {
    "centernet_resnet50v2_512x512": CenterNet,
    "mask_rcnn_inception_resnet_v2_1024x1024": MaskRCNN,
}
PRECISIONS = ("float32", "bfloat16")


def build_network(name: str, precision: str = "float32") -> keras.Model:
    """A network without weights; `weights.load_weights` fills it.

    Raises:
      UsageError: if there's no such network or precision.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        raise UsageError(f"--engine native: there's no native network for detector {name!r}"
                         f"{f'; did you mean {near[0]!r}?' if near else ''} Known: {', '.join(NETWORKS)}")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
    if keras.config.image_data_format() != "channels_last":
        raise UsageError("--engine native: Keras' configuration says image_data_format channels_first, the networks "
                         "need channels_last; change it in ~/.keras/keras.json")
    return NETWORKS[name](precision, name=name)
