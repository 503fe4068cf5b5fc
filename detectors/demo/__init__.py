"""The demo detector: small enough for the repository, good enough that its labels can be judged.

An instance segmenter for drawn scenes of toys. `model/` is a SavedModel with the signature of the published
TensorFlow Object Detection API models, so the engine `saved_model` runs it like those, offline and in a second. It
has never seen a photograph.

    shapes.py, textures.py, scenes.py   draw a scene from a seed, with exact boxes and masks
    dataset.py                          scenes as JPEG files with COCO ground truth
    examples.py                         scenes as training examples
    network.py, losses.py, train.py     the network and how it learns
    export.py                           the network as a SavedModel
    evaluate.py                         COCO average precision on unseen scenes
"""

from pathlib import Path

MODEL_FOLDER = Path(__file__).parent / "model"
"""The trained SavedModel."""
