"""A real `.tflite` file made in a millisecond, so that no test of the daemon needs TensorFlow."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray


def linear_model(matrix: NDArray[np.float32], length: int, width: int) -> bytes:
    """The file of a model that multiplies a flattened window with a matrix of shape (T·F, T·F)."""
    size = length * width
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]  # the first is empty by convention
    model.operatorCodes = [
        _code(schema.BuiltinOperator.RESHAPE),
        _code(schema.BuiltinOperator.FULLY_CONNECTED),
    ]
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor(model, "window", (1, length, width)),
        _tensor(model, "flat shape", (2,), np.array([-1, size], dtype=np.int32)),
        _tensor(model, "flat", (1, size)),
        _tensor(model, "weights", (size, size), matrix.T.astype(np.float32)),
        _tensor(model, "rebuilt flat", (1, size)),
        _tensor(model, "window shape", (3,), np.array([-1, length, width], dtype=np.int32)),
        _tensor(model, "rebuilt", (1, length, width)),
    ]
    dense = _operator(1, [2, 3, -1], 4)
    dense.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    dense.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators = [_operator(0, [0, 1], 2), dense, _operator(0, [4, 5], 6)]
    graph.inputs, graph.outputs = [0], [6]
    model.subgraphs = [graph]
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _code(builtin: int) -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    return code


def _tensor(
    model: schema.ModelT,
    name: str,
    shape: tuple[int, ...],
    content: NDArray[np.float32] | NDArray[np.int32] | None = None,
) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(shape), schema.TensorType.FLOAT32
    tensor.buffer = 0
    if content is None:
        tensor.shapeSignature = [-1, *shape[1:]]
    else:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), dtype=np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
        if content.dtype == np.int32:
            tensor.type = schema.TensorType.INT32
    return tensor


def _operator(code: int, inputs: list[int], output: int) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
    return operator
