"""Calls of `spar_engine._cuda` as docs/kernels.md describes them, to a stand-in that checks what it is given."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.components import components
from spar_engine.errors import BackendError

torch = pytest.importorskip("torch")

from spar_engine.backends.cuda import CudaBackend  # noqa: E402
from spar_engine.backends.cuda_ops import CudaOps  # noqa: E402
from spar_engine.modules.fused.linear import Fp8Linear  # noqa: E402
from spar_engine.modules.fused.table import OPS, Dispatched, TorchOps, Unsupported  # noqa: E402

BF16, F32, I32 = torch.bfloat16, torch.float32, torch.int32
PLAIN = TorchOps(BF16)


def is_a(tensor, dtype, *shape, dense=False):
    """The tensor, after a look at what the contract says of it."""
    assert tensor.dtype == dtype
    assert tuple(tensor.shape) == shape
    assert tensor.stride(-1) == 1 or shape[-1] == 1
    assert not dense or tensor.is_contiguous()
    return tensor


class StandIn:
    """The functions of the extension, all keywords, into arrays of the caller."""

    def __init__(self):
        self.called = []

    def relu_linear_attention_workspace(self, *, batch, heads, tokens, head_dim):
        return 64 if tokens > 20 else 0

    def relu_linear_attention(self, *, query, key, value, out, eps=1e-15, workspace=None, stream):
        shape = tuple(query.shape)
        assert shape[-1] in (16, 32)
        assert (workspace is not None) == (shape[2] > 20)
        for tensor in (query, key, value, out):
            is_a(tensor, BF16, *shape)
        out.copy_(PLAIN.relu_linear_attention(query, key, value))
        self.called.append("relu_linear_attention")

    def cross_attention(self, *, query, keys, values, out, lengths=None, scale=None, stream):
        batch, heads, _, head_dim = query.shape
        assert head_dim % 8 == 0
        is_a(keys, BF16, batch, heads, keys.shape[2], head_dim)
        is_a(values, BF16, *keys.shape)
        out.copy_(PLAIN.cross_attention(query, keys, values, is_a(lengths, I32, batch)))
        self.called.append("cross_attention")

    def layer_norm_modulate(self, *, x, shift, scale, out, out_scales=None, eps=1e-6, stream):
        batch, tokens, width = is_a(x, x.dtype, *x.shape, dense=True).shape
        vectors = is_a(shift, F32, batch, width), is_a(scale, F32, batch, width), eps
        if out_scales is None:
            is_a(out, BF16, *x.shape, dense=True).copy_(PLAIN.layer_norm_modulate(x, *vectors))
        else:
            is_a(out_scales, F32, batch, tokens, dense=True)
            self._store(out, out_scales, PLAIN.layer_norm_modulate(x, *vectors, True))
        self.called.append("layer_norm_modulate")

    def quantize_rows(self, *, x, values, scales, stream):
        rows, width = is_a(x, x.dtype, *x.shape, dense=True).shape
        assert width % 8 == 0
        self._store(values, is_a(scales, F32, rows, dense=True), PLAIN.quantize_rows(x))
        self.called.append("quantize_rows")

    def _store(self, values, scales, found):
        is_a(values, torch.uint8, *found.values.shape, dense=True).copy_(found.values.view(torch.uint8))
        scales.copy_(found.scales.squeeze(-1))

    def gate_residual(
        self, *, x, y, out, gate=None, normed=None, normed_scales=None, shift=None, scale=None, eps=1e-6, stream
    ):
        batch, _, width = is_a(x, out.dtype, *out.shape, dense=True).shape
        is_a(y, BF16, *x.shape, dense=True)
        out.copy_(PLAIN.gate_residual(x, y, None if gate is None else is_a(gate, F32, batch, width)))
        if normed is not None:
            self.layer_norm_modulate(x=out, shift=shift, scale=scale, out=normed, out_scales=normed_scales, eps=eps,
                                     stream=stream)  # fmt: skip
            self.called.pop()
        self.called.append("gate_residual" if normed is None else "gate_residual_norm")

    def glumbconv_core(self, *, x, weight, bias, out, stream):
        hidden = out.shape[-1]
        assert hidden % 8 == 0
        is_a(x, BF16, *out.shape[:-1], 2 * hidden, dense=True)
        found = PLAIN.glumbconv_core(x, is_a(weight, BF16, 9, 2 * hidden, dense=True), is_a(bias, F32, 2 * hidden))
        out.copy_(found)
        self.called.append("glumbconv_core")

    def guide_and_step(self, *, velocity, table, step, latent, out, data, guidance=None, model_input=None, stream):
        images, size = is_a(latent, F32, *out.shape, dense=True).shape
        assert out is latent
        is_a(velocity, velocity.dtype, len(velocity), images, size, dense=True)
        is_a(table, F32, len(table), 4, dense=True)
        PLAIN.guide_and_step(velocity, is_a(guidance, F32, images), table, latent, is_a(data, F32, images, size), step)
        self.called.append("guide_and_step")

    def clamp_resize_uint8(self, *, image, out, stream):
        from spar_engine.image.resample import samples

        is_a(out, torch.uint8, *out.shape, dense=True)
        pairs = (samples(*sizes) for sizes in zip(image.shape[2:], out.shape[1:3], strict=True))
        places = [(torch.from_numpy(low), torch.from_numpy(share)) for low, share in pairs]
        out.copy_(PLAIN.clamp_resize_uint8(image, *places))
        self.called.append("clamp_resize_uint8")

    def dynamic_token_routing_workspace(self, *, tokens, hidden, depth):
        return 4 * tokens * (hidden + depth)

    def dynamic_token_routing(
        self, *, levels, w1, b1, w2, b2, scales, norm_weight, norm_bias, proj_weight, proj_bias, routed, workspace,
        temperature=1.0, eps=1e-5, weights=None, stream,
    ):  # fmt: skip
        depth, tokens, width = is_a(levels, BF16, *levels.shape).shape
        hidden = len(w1)
        for tensor, shape in ((w1, (hidden, width)), (w2, (depth, hidden)), (proj_weight, (width, width))):
            is_a(tensor, BF16, *shape, dense=True)
        vectors = ((b1, hidden), (b2, depth), (scales, depth), (norm_weight, width), (norm_bias, width))
        for tensor, size in (*vectors, (proj_bias, width)):
            is_a(tensor, F32, size)
        is_a(workspace, torch.uint8, 4 * tokens * (hidden + depth))
        routed.copy_(PLAIN.dynamic_token_routing(levels, w1, b1, w2, b2, scales, norm_weight, norm_bias, proj_weight,
                                                 proj_bias, temperature))  # fmt: skip
        self.called.append("dynamic_token_routing")


def backend_with(weights, stand_in):
    made = CudaBackend(weights, device="cpu", threads=1)
    made.ops = Dispatched({"cuda": CudaOps(stand_in), "torch": PLAIN})
    return made


def test_components_and_pictures_are_the_same_through_the_extension(weights):
    """Every call of a step, of routing and of the picture keeps the contract, and gives what torch gives."""
    stand_in = StandIn()
    ours, plain = backend_with(weights, stand_in), CudaBackend(weights, device="cpu", threads=1)
    for component in ("condition", "dit"):
        given = components(weights.config)[component].example(np.random.default_rng(2))
        for name, want in plain.run(component, given).items():
            assert np.array_equal(np.asarray(ours.run(component, given)[name]), np.asarray(want)), component
    d = weights.config.dit
    expected = {"relu_linear_attention"} if d.head_dim in (16, 32) else set()
    expected |= {"cross_attention", "layer_norm_modulate", "gate_residual", "gate_residual_norm", "glumbconv_core"}
    assert set(stand_in.called) == expected | {"dynamic_token_routing"}
    assert ours.about()["kernels"] == ["cuda", "torch"]
    assert ours.about()["answered"]["cross_attention"] == ["cuda"]


def test_a_step_in_8_bits_through_the_extension(weights):
    """Rows are quantised by the norm before a product where there is one, else by a kernel of their own."""
    stand_in = StandIn()
    ours = CudaBackend(weights, device="cpu", threads=1, precision="fp8")
    ours.ops = Dispatched({"cuda": CudaOps(stand_in), "torch": PLAIN})
    given = components(weights.config)["dit"].example(np.random.default_rng(2))
    want = CudaBackend(weights, device="cpu", threads=1, precision="fp8").run("dit", given)["velocity"]
    assert np.array_equal(ours.run("dit", given)["velocity"], want)
    blocks = weights.config.dit.depth
    assert stand_in.called.count("quantize_rows") == 4 * blocks  # way out, query, cross-attention's way out, way down
    assert ours.about()["answered"]["quantize_rows"] == ["cuda"]


def test_a_product_in_8_bits_takes_rows_of_either_kind_and_a_bias():
    rng = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(shape, generator=rng).to(BF16) for shape in ((2, 3, 32), (48, 32), (48,)))
    product = Fp8Linear(weight, bias, PLAIN)
    found = product(x)
    assert torch.equal(product(PLAIN.quantize_rows(x)), found)
    assert (found.float() - torch.nn.functional.linear(x.float(), weight.float(), bias.float())).abs().max() < 1
    assert (found - Fp8Linear(weight, None, PLAIN)(x) - bias).abs().max() < 0.1


def test_a_gpu_without_8_bit_products_is_refused(weights, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
    with pytest.raises(BackendError, match=r"precision='fp8' needs .* 8\.9 or later; this GPU has 8\.0"):
        CudaBackend(weights, precision="fp8")


def test_a_sampler_and_bytes_through_the_extension():
    stand_in = StandIn()
    ops = Dispatched({"cuda": CudaOps(stand_in), "torch": PLAIN})
    latent, data, velocity = torch.randn(1, 24), torch.full((1, 24), float("nan")), torch.randn(2, 1, 24).to(BF16)
    table, guidance = torch.tensor([[0.9, 0.5, 0.4, 0.0]]), torch.tensor([3.0])
    again = latent.clone(), data.clone()
    ops.guide_and_step(velocity, guidance, table, latent, data, 0)
    PLAIN.guide_and_step(velocity, guidance, table, *again, 0)
    assert torch.equal(latent, again[0])
    assert not latent.isnan().any()
    low, share = torch.tensor([0, 1, 2], dtype=torch.int32), torch.tensor([0.0, 0.0, 0.0])
    image = torch.rand(1, 3, 3, 3) * 2 - 1
    assert torch.equal(ops.clamp_resize_uint8(image, (low, share), (low, share)),
                       PLAIN.clamp_resize_uint8(image, (low, share), (low, share)))  # fmt: skip
    assert stand_in.called == ["guide_and_step", "clamp_resize_uint8"]


@pytest.mark.parametrize(
    "call",
    [
        lambda ops: ops.relu_linear_attention(*[torch.zeros(1, 2, 4, 24, dtype=BF16)] * 3),
        lambda ops: ops.relu_linear_attention(*[torch.zeros(1, 2, 4, 32)] * 3),
        lambda ops: ops.cross_attention(*[torch.zeros(1, 2, 4, 12, dtype=BF16)] * 3, torch.ones(1, dtype=I32)),
        lambda ops: ops.cross_attention(*[torch.zeros(1, 2, 32, 4, dtype=BF16).mT] * 3, torch.ones(1, dtype=I32)),
        lambda ops: ops.quantize_rows(torch.zeros(2, 12)),
        lambda ops: ops.quantize_rows(torch.zeros(8, 2).mT),
        lambda ops: ops.layer_norm_modulate(torch.zeros(1, 2, 12), torch.zeros(1, 12), torch.zeros(1, 12), 1e-6),
        lambda ops: ops.gate_residual(torch.zeros(1, 8, 16).mT, torch.zeros(1, 16, 8, dtype=BF16)),
        lambda ops: ops.glumbconv_core(torch.zeros(1, 2, 2, 24, dtype=BF16), torch.zeros(9, 24, dtype=BF16), None),
    ],
)
def test_what_the_kernels_do_not_take_is_left_to_others(call):
    with pytest.raises(Unsupported):
        call(CudaOps(StandIn()))


def test_the_last_resort_has_every_operator():
    assert all(hasattr(PLAIN, op) for op in OPS)
    assert all(hasattr(CudaOps, op) for op in OPS)
    with pytest.raises(BackendError, match="no implementation of gate_residual takes this call; it has \\['cuda'\\]"):
        Dispatched({"cuda": CudaOps(StandIn())}).gate_residual(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4))
