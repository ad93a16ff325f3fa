"""From a traced torch program to an ONNX graph.

`torch.export` gives a flat list of tensor operators with symbolic shapes. Each is lowered by one small function, in
`arithmetic`, `shapes` or `layers`. The stock exporter was tried first: it decomposes before it translates, so that a
split becomes a sequence and a linear layer a transposed copy of its weight, it takes several times longer, and it
cannot keep functions of our own domain when it converts the opset.
"""

from .graph import GraphBuilder
from .program import lower_program

__all__ = ["GraphBuilder", "lower_program"]
