"""Supervised reference models: the same interface for all, made by name.

`create_model("resnet18", channels=12, outputs=5)` maps float [B, C, T] to logits [B, outputs];
`model.features(x)` is what its last linear layer reads; `list_models()` names them with their size.
`RandomKernels` is the reference that learns nothing.
"""

from .base import Classifier
from .random_kernels import RandomKernels
from .registry import create_model, list_models

__all__ = ["Classifier", "RandomKernels", "create_model", "list_models"]
