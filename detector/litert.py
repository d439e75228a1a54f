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


class LiteRT:
    """Answers arrays with arrays, by the bytes of a `.tflite` file with one input and one output; one thread.

    Attributes:
        shape: Of one input, without the axis of the batch.
    """

    def __init__(self, content: bytes, *, packed: bool = True) -> None:
        """Loads the file; see `LiteRTModel`.

        Raises:
            ValueError, RuntimeError: LiteRT cannot load it, or it has several inputs or outputs.
        """
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
        self.shape = tuple(int(n) for n in inputs[0]["shape"][1:])
        self._any_batch = int(inputs[0]["shape_signature"][0]) == -1
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._batch = 0

    def run(self, given: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape (N, ...) in and out, N >= 1; one by one where the model takes no more, as recurrent ones."""
        if self._any_batch:
            return self._run(given)
        return np.concatenate([self._run(given[i : i + 1]) for i in range(len(given))])

    def _run(self, given: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(given) != self._batch:
            self._interpreter.resize_tensor_input(self._input, given.shape)
            self._interpreter.allocate_tensors()
            self._batch = len(given)
        self._interpreter.set_tensor(self._input, given)
        self._interpreter.invoke()
        result: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return result


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
        shape = (length, width)
        try:
            self._litert = LiteRT(content, packed=packed)
            if self._litert.shape != shape:
                raise UnusableModel(f"model: must take windows of shape {shape}, got {self._litert.shape}")
            with _hushed():
                tried = self.reconstruct(np.zeros((1, *shape), dtype=np.float32))
        except (ValueError, RuntimeError) as error:
            if isinstance(error, UnusableModel):
                raise
            raise UnusableModel(f"model: LiteRT cannot load it: {error}") from error
        if tried.shape != (1, *shape) or not np.isfinite(tried).all():
            raise UnusableModel("model: must return finite windows of the shape it takes")

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Autoencoder.reconstruct`."""
        return self._litert.run(windows)


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
