"""Keras on TensorFlow, imported when it is first needed and without the noise of its C++ parts."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager, suppress
from functools import cache
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

# Keras and TensorFlow ship no types: these names say what is meant, and nothing is checked.
KerasModel: TypeAlias = Any
Tensor: TypeAlias = Any
Compiled: TypeAlias = Any

building = RLock()  # Keras names, counts and draws in one place for all threads


@cache
def load() -> tuple[ModuleType, ModuleType]:
    """Imports Keras and TensorFlow; takes seconds, once.

    Returns:
        The modules `keras` and `tensorflow`.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever a file in the home directory says
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_noise():
        import keras  # noqa: PLC0415 - takes seconds; reading files must not pay
        import tensorflow as tf  # noqa: PLC0415 - see above

        tf.get_logger().setLevel("ERROR")
        tf.config.experimental.enable_op_determinism()
        with suppress(RuntimeError):  # it is in use already
            # Sharing one of our small products out among cores costs three times what it takes.
            tf.config.threading.set_intra_op_parallelism_threads(1)
    return keras, tf


@contextmanager
def without_noise() -> Iterator[None]:
    """Keeps stderr free of what C++ code writes past Python, which no setting of a log level stops."""
    sys.stderr.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
