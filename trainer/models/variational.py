"""Dense layers that encode a window as a normal distribution of codes; its mean is what is exported.

Kingma, Welling: Auto-encoding variational Bayes (2014).
"""

from __future__ import annotations

from trainer.models.dense import decode, encode, units
from trainer.models.kind import Kind

KIND = Kind(units, "relu", encode, decode, variational=True)
