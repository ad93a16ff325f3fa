#include "c_api/noise.h"

#include <array>
#include <cmath>

// Products and sums are rounded one by one: CMakeLists.txt compiles this folder with -ffp-contract=off.
namespace spar::c_api {
namespace {

using Words = std::array<uint32_t, 4>;

Words philox(uint64_t seed, const Words& counter) {
  Words w = counter;
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t one = uint64_t{0xD2511F53} * w[0], two = uint64_t{0xCD9E8D57} * w[2];
    w = {static_cast<uint32_t>(two >> 32) ^ w[1] ^ key0, static_cast<uint32_t>(two),
         static_cast<uint32_t>(one >> 32) ^ w[3] ^ key1, static_cast<uint32_t>(one)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return w;
}

template <size_t n>
double polynomial(const std::array<double, n>& coefficients, double x) {
  double total = coefficients[0];
  for (size_t i = 1; i < n; ++i) total = total * x + coefficients[i];
  return total;
}

double logarithm(double x) {
  static const auto series = [] {
    std::array<double, 11> made;
    for (int k = 10; k >= 0; --k) made[static_cast<size_t>(10 - k)] = 2.0 / (2 * k + 1);
    return made;
  }();
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);
  if (mantissa < std::sqrt(0.5)) {
    mantissa = 2 * mantissa;
    --exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1);
  return exponent * 0.6931471805599453 + s * polynomial(series, s * s);
}

// (-1)^k / (2 k + odd)!, highest power first.
std::array<double, 9> alternating(int odd) {
  std::array<double, 9> made;
  for (int k = 8; k >= 0; --k) {
    double factorial = 1;
    for (int i = 2; i <= 2 * k + odd; ++i) factorial *= i;
    made[static_cast<size_t>(8 - k)] = (k % 2 ? -1.0 : 1.0) / factorial;
  }
  return made;
}

void pair(uint32_t first, uint32_t second, float* to) {
  static const auto sines = alternating(1), cosines = alternating(0);
  const double radius = std::sqrt(-2.0 * logarithm((static_cast<double>(first) + 1) * 0x1p-32));
  const uint64_t quarter = (uint64_t{second} + (uint64_t{1} << 29)) >> 30;
  const double rest = static_cast<double>(static_cast<int64_t>(second) - static_cast<int64_t>(quarter << 30)) *
                      (3.141592653589793 / 0x1p31);
  const double square = rest * rest;
  const double cosine = polynomial(cosines, square), sine = rest * polynomial(sines, square);
  double real = quarter & 1 ? sine : cosine, imaginary = quarter & 1 ? cosine : sine;
  const uint64_t turn = quarter & 3;
  if (turn == 1 || turn == 2) real = -real;
  if (turn >= 2) imaginary = -imaginary;
  to[0] = static_cast<float>(radius * real);
  to[1] = static_cast<float>(radius * imaginary);
}

}  // namespace

std::vector<float> noise(uint64_t seed, uint32_t index, int64_t size) {
  std::vector<float> made(static_cast<size_t>((size + 3) / 4 * 4));
  for (size_t block = 0; block < made.size() / 4; ++block) {
    const Words words = philox(seed, {static_cast<uint32_t>(block), 0, index, 0});
    pair(words[0], words[1], &made[4 * block]);
    pair(words[2], words[3], &made[4 * block + 2]);
  }
  made.resize(static_cast<size_t>(size));
  return made;
}

double uniform(uint64_t seed, uint32_t n) { return (static_cast<double>(philox(seed, {n, 0, 0, 1})[0]) + 1) * 0x1p-32; }

}  // namespace spar::c_api
