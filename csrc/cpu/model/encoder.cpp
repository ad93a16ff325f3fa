#include "model/encoder.h"

#include <cmath>

#include "model/keyvalues.h"

namespace spar::cpu {

void run_encoder_layer(Run& run, const EncoderShape& shape, const EncoderLayer& layer, const View& x, int64_t batch,
                       int64_t tokens) {
  const int64_t rows = batch * tokens, width = shape.width, dim = width / shape.heads;
  Frame frame(run.arena);
  const View qkv = run.act(rows, 3 * width), mixed = run.act(rows, width), hidden = run.act(rows, shape.hidden);
  Norm norm;
  norm.in = x;
  norm.width = width;
  norm.eps = shape.eps;
  norm.weight = layer.norm1_weight;
  norm.bias = layer.norm1_bias;
  Epilogue end;
  end.out = qkv;
  run.norm_linear(norm, layer.qkv, rows, end);

  // Keys and values of every head, packed for the two products of the attention.
  const int64_t capacity = round_up(tokens, kPanel);
  KeyValues kv;
  kv.type = run.activations;
  kv.dim = dim;
  kv.capacity = capacity;
  kv.key_head = key_bytes(kv.type, dim, capacity);
  kv.value_head = value_bytes(kv.type, dim, capacity);
  kv.keys = run.arena.take_bytes(static_cast<size_t>(shape.heads * kv.key_head));
  kv.values = run.arena.take_bytes(static_cast<size_t>(shape.heads * kv.value_head));
  for (int64_t b = 0; b < batch; ++b) {
    const View mine = qkv.rows(b * tokens);
    run.each(shape.heads, [&](int64_t head, int) {
      pack_tokens(kv, head, mine.columns(width), mine.columns(2 * width), 0, tokens);
    });
    Attention attention;
    attention.q = mine;
    attention.out = mixed.rows(b * tokens);
    attention.kv = &kv;
    attention.tokens = attention.keys = tokens;
    attention.heads = attention.kv_heads = shape.heads;
    attention.scale = 1.0f / std::sqrt(static_cast<float>(dim));
    run.attention(attention);
  }
  end.gate = layer.scale1;
  end.residual = end.out = x;
  run.linear(layer.proj, mixed, rows, end);

  norm.weight = layer.norm2_weight;
  norm.bias = layer.norm2_bias;
  Epilogue up;
  up.act = Act::gelu_erf;
  up.out = hidden;
  run.norm_linear(norm, layer.up, rows, up);
  end.gate = layer.scale2;
  run.linear(layer.down, hidden, rows, end);
}

NormedMlp::NormedMlp(Loader& load, const std::string& prefix, float eps) : eps(eps) {
  weight = load.vector(prefix + "0.weight");
  bias = load.vector(prefix + "0.bias");
  first = load.linear(prefix + "1", load.fine());
  second = load.linear(prefix + "3", load.fine());
  width = first.k;
  hidden = first.n;
  out = second.n;
}

void NormedMlp::run(Run& run, const View& x, int64_t rows, const View& to, const View& residual) const {
  Frame frame(run.arena);
  Norm norm;
  norm.in = x;
  norm.width = width;
  norm.eps = eps;
  norm.weight = weight;
  norm.bias = bias;
  Epilogue end;
  end.act = Act::gelu_erf;
  end.out = run.act(rows, hidden);
  run.norm_linear(norm, first, rows, end);
  Epilogue last;
  last.out = to;
  last.residual = residual;
  run.linear(second, end.out, rows, last);
}

}  // namespace spar::cpu
