#include "core/product.h"

#include <algorithm>
#include <cmath>

#include "core/pack.h"
#include "testing.h"

using namespace spar::cpu;
using namespace spar::testing;

namespace {

const Registration edges("products of odd sizes stay inside their arrays", [] {
  Pool pool(2);
  Pool::Seat seat(pool);
  Arena arena;
  for (const Kernels* table : kernel_tables())
    for (const int64_t m : {1, 5, 31, 33})
      for (const int64_t n : {1, 31, 33, 65})
        for (const int64_t k : {1, 3, 17, 150}) {
          Frame frame(arena);
          const auto a = numbers(m * k, 1), w = numbers(n * k, 2);
          std::vector<float> out(static_cast<size_t>(m * n));
          std::vector<char> panels(static_cast<size_t>(packed_bytes(Type::f32, n, k)));
          pack_panels(seat, Type::f32, n, k,
                      [&](int64_t row, float* to) { std::copy_n(&w[static_cast<size_t>(row * k)], k, to); },
                      panels.data(), nullptr, nullptr);
          PackedLinear packed;
          packed.data = panels.data();
          packed.n = n;
          packed.k = k;
          Gemm g;
          g.a = {const_cast<float*>(a.data()), Type::f32, k};
          g.w = &packed;
          g.m = m;
          g.end.out = {out.data(), Type::f32, n};
          product(*table, seat, arena, g);
          for (int64_t i = 0; i < m * n; ++i) {
            double exact = 0;
            for (int64_t j = 0; j < k; ++j)
              exact += static_cast<double>(a[static_cast<size_t>(i / n * k + j)]) * w[static_cast<size_t>(i % n * k + j)];
            expect(std::fabs(out[static_cast<size_t>(i)] - exact) < 1e-4, "a product is wrong");
          }
        }
});

// Rows, weights and scales in memory of exactly their size, rows at odd addresses; every number of rows, of columns and of
// groups that a tile may end in.
const Registration groups("products of 4-bit weights stay inside their arrays", [] {
  Pool pool(2);
  Pool::Seat seat(pool);
  Arena arena;
  std::vector<const Kernels*> tables = {&kernels("emulated_amx")};
  tables.insert(tables.end(), kernel_tables().begin(), kernel_tables().end());
  for (const Kernels* table : tables)
    for (const int64_t m : {0, 1, 2, 5, 9})
      for (const int64_t n : {1, 31, 33, 65})
        for (const int64_t k : {1, 8, 31, 40, 96}) {
          Frame frame(arena);
          const auto a = numbers(m * k, 1), w = numbers(n * k, 2);
          std::vector<float> out(static_cast<size_t>(m * n));
          std::vector<char> panels(static_cast<size_t>(packed_bytes(Type::s4, n, k)));
          pack_panels(seat, Type::s4, n, k,
                      [&](int64_t row, float* to) { std::copy_n(&w[static_cast<size_t>(row * k)], k, to); },
                      panels.data(), nullptr, nullptr);
          PackedLinear packed;
          packed.data = panels.data();
          packed.type = Type::s4;
          packed.n = n;
          packed.k = packed_k(Type::s4, k);
          std::vector<int8_t> rows(static_cast<size_t>(m * packed.k + 1));
          std::vector<float> scale(static_cast<size_t>(m * packed.groups()));
          std::vector<int32_t> offset(scale.size());
          Quantize q;
          q.in = {const_cast<float*>(a.data()), Type::f32, k};
          q.out = {rows.data() + 1, Type::s8, packed.k};
          q.out_scale = scale.data();
          q.out_offset = offset.data();
          q.width = k;
          table->quantize(q, 0, m);
          Gemm g;
          g.a = q.out;
          g.a_scale = scale.data();
          g.a_offset = offset.data();
          g.w = &packed;
          g.m = m;
          g.end.out = {out.data(), Type::f32, n};
          product(*table, seat, arena, g);
          // Half a step of a weight is at most 1/15 and its rounding to bf16, half a unit of an activation 1/254.
          const double allowed = static_cast<double>(k) * (0.0672 + 0.0043 + 0.0001);
          for (int64_t i = 0; i < m * n; ++i) {
            double exact = 0;
            for (int64_t j = 0; j < k; ++j)
              exact += static_cast<double>(a[static_cast<size_t>(i / n * k + j)]) * w[static_cast<size_t>(i % n * k + j)];
            expect(std::fabs(out[static_cast<size_t>(i)] - exact) <= allowed, "a product of 4-bit weights is wrong");
          }
        }
});

}  // namespace
