"""CenterNet (Objects as Points, arXiv:1904.07850) with ResNet50-v2 on 512x512 images."""

from .network import CenterNet as CenterNet
