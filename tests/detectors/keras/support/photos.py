"""Real photos of many shapes, from scikit-image's wheel, for comparing the networks with the published graphs."""

import numpy as np


def photo(name: str) -> np.ndarray:
    """An image as uint8 RGB `[H, W, 3]`.

    `coffee` 400x600, `astronaut` 512x512, `chelsea` 300x451, `rocket` 427x640, `retina` 1411x1411 and `hubble`
    872x1000 are photos as they are; `page` is grey, 191x384; crops are `portrait` of 512x300, `tiny` of 33x40, `wide`
    of 100x400 (4:1); `panorama` of 80x560 (7:1), which CenterNet scales to fewer rows than its feature map has.
    """
    from skimage import data

    if name == "hubble":
        return data.hubble_deep_field()
    if name == "page":
        return np.repeat(data.page()[..., None], 3, axis=-1)
    if name == "portrait":
        return np.ascontiguousarray(data.astronaut()[:, 100:400])
    if name == "tiny":
        return np.ascontiguousarray(data.chelsea()[100:133, 150:190])
    if name == "wide":
        return np.ascontiguousarray(data.coffee()[150:250, 100:500])
    if name == "panorama":
        return np.ascontiguousarray(data.coffee()[200:280, :560])
    return getattr(data, name)()


CENTERNET_PHOTOS = (
    "coffee",
    "astronaut",
    "chelsea",
    "rocket",
    "page",
    "portrait",
    "tiny",
    "wide",
    "panorama",
    "hubble",
)
MASK_RCNN_PHOTOS = ("coffee", "portrait")
