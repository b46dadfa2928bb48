"""A synthetic twin of PTB-XL and CPSC2018: small trees in their layouts, with a planted truth."""

from .twin import MARKER, TRUTH, is_synthetic, simulate

__all__ = ["MARKER", "TRUTH", "is_synthetic", "simulate"]
