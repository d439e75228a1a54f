"""The words that name what a sensor is and how it is treated; settings may import them at no cost."""

from __future__ import annotations

from typing import Literal

ChannelKind = Literal["category", "binary", "angle", "counter"]
ImputationMethod = Literal["last", "mean", "median", "mode", "knn", "iterative", "model"]
ScalingMethod = Literal["standard", "minmax", "robust", "quantile"]
