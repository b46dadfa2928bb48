"""Encoders that others trained: read a checkpoint, put its tensors in our places, keep it as a model folder."""
