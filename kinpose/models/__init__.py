"""Networks that predict poses from images."""

from kinpose.extras import needs

with needs("train"):
    import flax.linen  # noqa: F401

from kinpose.models.mobilenet import MobileNetV2
from kinpose.models.resnet import ResNet
from kinpose.models.toynet import ToyNet

__all__ = ["MobileNetV2", "ResNet", "ToyNet"]
