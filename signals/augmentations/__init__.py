"""Augmentations of windows: batched tensor operations where the windows lie, drawn by position."""

from .augment import OPERATIONS, ST_MEM, AugmentConfig, augment

__all__ = ["OPERATIONS", "ST_MEM", "AugmentConfig", "augment"]
