"""How far layers of both networks may be from the published graphs', on the same input: the greatest difference."""

CENTERNET_LAYERS = {
    "conv1_conv": 2e-5,
    "pool1_pool": 2e-5,
    "conv2_block3_out": 1e-4,
    "conv3_block4_out": 2e-4,
    "conv4_block6_out": 6e-4,
    "conv5_block3_out": 1.5e-3,
}
MASK_RCNN_LAYERS = {  # the reference's name -> the layer, the tolerance
    # Units 1 to 4: this and the reference are 1.5e-5 each from what float64 gives, of values up to 15.
    "activation": ("conv2d", 2e-5),
    "activation_4": ("conv2d_4", 3e-5),
    "max_pooling2d_1": ("max_pooling2d_1", 2e-5),
    "mixed_5b": ("mixed_5b", 1e-4),
    "block35_10_ac": ("block35_10_ac", 1e-4),
    "mixed_6a": ("mixed_6a", 1e-4),
    "block17_1_ac": ("block17_1_ac", 1e-4),
    "block17_20_ac": ("block17_20_ac", 3e-4),
}
