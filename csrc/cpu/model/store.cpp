#include "model/store.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "engine/error.h"

namespace spar::cpu {

int64_t Tensor::count() const {
  int64_t total = 1;
  for (const int64_t size : shape) total *= size;
  return total;
}

void Tensor::read(int64_t first, int64_t count, float* to) const {
  if (type == Stored::f32) {
    std::memcpy(to, static_cast<const float*>(data) + first, static_cast<size_t>(count) * 4);
    return;
  }
  const char* from = static_cast<const char*>(data) + first * 2;
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;  // a file gives no alignment
    std::memcpy(&bits, from + i * 2, 2);
    to[i] = type == Stored::bf16 ? to_f32(bf16{bits}) : half_to_f32(bits);
  }
}

char* Store::take(size_t bytes) {
  const size_t size = (bytes + 63) / 64 * 64;
  if (size > size_ - used_) throw std::bad_alloc();
  char* taken = base_ + used_;
  used_ += size;
  return taken;
}

const Tensor& Loader::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw InputError("native: the weights hold no tensor " + name);
  return found->second;
}

const float* Loader::made(int64_t count, const std::function<void(float*)>& fill) {
  float* to = reinterpret_cast<float*>(store_.take(static_cast<size_t>(count) * 4));
  if (!store_.filled()) fill(to);
  return to;
}

const float* Loader::vector_of(const std::vector<std::string>& names) {
  int64_t count = 0;
  for (const auto& name : names) count += tensor(name).count();
  return made(count, [&](float* to) {
    for (const auto& name : names) {
      const Tensor& from = tensor(name);
      from.read(0, from.count(), to);
      to += from.count();
    }
  });
}

PackedLinear Loader::packed(int64_t n, int64_t k, const WeightRow& row, const float* bias, Type type) {
  PackedLinear w;
  w.type = type;
  w.n = n;
  w.k = packed_k(type, k);
  w.padding = w.k - k;
  w.bias = bias;
  char* panels = store_.take(static_cast<size_t>(packed_bytes(type, n, k)));
  float* scale = nullptr;
  int32_t* sums = nullptr;
  if (type == Type::s8) {
    scale = reinterpret_cast<float*>(store_.take(static_cast<size_t>(n) * 4));
    sums = reinterpret_cast<int32_t*>(store_.take(static_cast<size_t>(n) * 4));
  }
  if (!store_.filled()) pack_panels(seat_, type, n, k, row, panels, scale, sums);
  w.data = panels;
  w.scale = scale;
  w.sums = sums;
  return w;
}

PackedLinear Loader::stacked(const std::vector<std::string>& prefixes, Type type) {
  std::vector<const Tensor*> parts;
  std::vector<int64_t> starts;
  int64_t n = 0;
  bool biased = false;
  for (const auto& prefix : prefixes) {
    parts.push_back(&tensor(prefix + ".weight"));
    starts.push_back(n);
    n += parts.back()->shape[0];
    biased = biased || has(prefix + ".bias");
  }
  const int64_t k = parts[0]->count() / parts[0]->shape[0];
  const float* bias = nullptr;
  if (biased)
    bias = made(n, [&](float* to) {
      for (size_t i = 0; i < prefixes.size(); ++i) {
        const int64_t size = parts[i]->shape[0];
        if (has(prefixes[i] + ".bias"))
          tensor(prefixes[i] + ".bias").read(0, size, to + starts[i]);
        else
          std::fill_n(to + starts[i], size, 0.0f);
      }
    });
  const auto row = [&](int64_t r, float* to) {
    size_t part = parts.size() - 1;
    while (starts[part] > r) --part;
    parts[part]->read((r - starts[part]) * k, k, to);
  };
  return packed(n, k, row, bias, type);
}

PackedLinear Loader::gated(const std::string& gate, const std::string& value, Type type) {
  constexpr int64_t half = kPanel / 2;
  const Tensor &gates = tensor(gate + ".weight"), &values = tensor(value + ".weight");
  const int64_t n = gates.shape[0], k = gates.shape[1];
  const auto row = [&](int64_t r, float* to) {
    const int64_t panel = r / kPanel, column = r % kPanel, output = panel * half + column % half;
    if (output < n) (column < half ? gates : values).read(output * k, k, to);  // else it stays zero
  };
  return packed(2 * round_up(n, half), k, row, nullptr, type);
}

void Loader::need_whole_lanes(const std::string& prefix, int64_t channels) const {
  if (channels % per_lane(fine()))  // a lane would lie in two pixels
    throw InputError("native: " + prefix + " has " + std::to_string(channels) +
                     " input channels; bf16 needs an even number, use fp32");
}

PackedLinear Loader::convolution(const std::string& prefix) {
  const Tensor& weight = tensor(prefix + ".weight");
  const int64_t n = weight.shape[0], in = weight.shape[1], taps = weight.shape[2] * weight.shape[3];
  need_whole_lanes(prefix, in);
  const float* bias = has(prefix + ".bias") ? vector(prefix + ".bias") : nullptr;
  const auto row = [&](int64_t r, float* to) {
    std::vector<float> plain(static_cast<size_t>(in * taps));
    weight.read(r * in * taps, in * taps, plain.data());
    for (int64_t c = 0; c < in; ++c)
      for (int64_t t = 0; t < taps; ++t) to[t * in + c] = plain[static_cast<size_t>(c * taps + t)];
  };
  return packed(n, in * taps, row, bias, fine());
}

const float* Loader::depthwise(const std::string& name, const std::function<int64_t(int64_t)>& source) {
  const Tensor& weight = tensor(name);
  const int64_t channels = weight.shape[0], taps = weight.shape[2] * weight.shape[3];
  return made(channels * taps, [&](float* to) {
    std::vector<float> plain(static_cast<size_t>(channels * taps));
    weight.read(0, channels * taps, plain.data());
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t t = 0; t < taps; ++t) to[t * channels + c] = plain[static_cast<size_t>(source(c) * taps + t)];
  });
}

}  // namespace spar::cpu
