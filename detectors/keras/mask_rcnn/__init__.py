"""Mask R-CNN (arXiv:1703.06870) with Inception-ResNet-v2 (arXiv:1602.07261) on 1024x1024 images."""

from .network import MaskRCNN as MaskRCNN
