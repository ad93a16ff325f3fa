"""The checks of the onnx package, without reading any weights."""

from __future__ import annotations

import onnx
from onnx import ModelProto, helper


def check(model: ModelProto) -> None:
    """Types, shapes and operators of a model fit together; onnx.checker.ValidationError or InferenceError otherwise.

    Parameters count as inputs here, so that their values, which may be gigabytes elsewhere, are not looked for.
    """
    light = ModelProto()
    light.CopyFrom(model)
    external = onnx.TensorProto.EXTERNAL
    kept = [tensor for tensor in model.graph.initializer if tensor.data_location != external]
    del light.graph.initializer[:]
    light.graph.initializer.extend(kept)
    light.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_location == external
    )
    onnx.checker.check_model(light, full_check=True)
