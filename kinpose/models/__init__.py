"""Networks that predict poses from images."""

from kinpose.models.resnet import ResNet
from kinpose.models.toynet import ToyNet

__all__ = ["ResNet", "ToyNet"]
