"""Networks that predict poses from images."""

from kinpose.models.toynet import ToyNet

__all__ = ["ToyNet"]
