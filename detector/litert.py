"""An exported autoencoder, run by LiteRT."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


UNPACKED = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


class UnusableModel(ValueError):
    """The bytes are not a model of windows of the given shape."""


class LiteRTModel:
    """An `Autoencoder` from the bytes of a `.tflite` file; any batch size, one thread."""

    def __init__(self, content: bytes, *, length: int, width: int, packed: bool = True) -> None:
        """Loads the model and tries it on one window.

        Args:
            content: The `.tflite` file.
            length: T, samples per window.
            width: C, columns.
            packed: Whether XNNPACK runs it, from a copy of the weights in its own order: three times
                as fast on 64 windows at once, no faster on one, and for the default model 220 KiB of
                memory instead of 140.

        Raises:
            UnusableModel: LiteRT cannot load it, or its input or output is not (N, T, C).
        """
        self._shape = (length, width)
        try:
            self._interpreter: Any = Interpreter(
                model_content=content,
                num_threads=1,
                experimental_op_resolver_type=OpResolverType.AUTO if packed else UNPACKED,
            )
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
            if len(inputs) != 1 or len(outputs) != 1:
                raise UnusableModel(
                    f"model: must have one input and one output, got {len(inputs)} and {len(outputs)}"
                )
            shape = tuple(int(n) for n in inputs[0]["shape"][1:])
            if shape != self._shape:
                raise UnusableModel(f"model: must take windows of shape {self._shape}, got {shape}")
            self._input, self._output = inputs[0]["index"], outputs[0]["index"]
            self._batch = 0
            with _hushed():
                tried = self.reconstruct(np.zeros((1, length, width), dtype=np.float32))
        except (ValueError, RuntimeError) as error:
            if isinstance(error, UnusableModel):
                raise
            raise UnusableModel(f"model: LiteRT cannot load it: {error}") from error
        if tried.shape != (1, length, width) or not np.isfinite(tried).all():
            raise UnusableModel("model: must return finite windows of the shape it takes")

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Autoencoder.reconstruct`."""
        if len(windows) != self._batch:
            self._interpreter.resize_tensor_input(self._input, windows.shape)
            self._interpreter.allocate_tensors()
            self._batch = len(windows)
        self._interpreter.set_tensor(self._input, windows)
        self._interpreter.invoke()
        result: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return result


@contextmanager
def _hushed() -> Iterator[None]:
    """Keeps a line about XNNPACK, which no setting of LiteRT switches off, out of the log on stderr."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
