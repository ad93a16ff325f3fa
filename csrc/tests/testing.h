// Tests in C++: what Python cannot see, such as reads past the end of an array. Built by csrc/tests/sanitize.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace spar::testing {

struct Test {
  std::string name;
  std::function<void()> run;
};

std::vector<Test>& tests();

struct Registration {
  Registration(std::string name, std::function<void()> run) { tests().push_back({std::move(name), std::move(run)}); }
};

// Throws with `what` unless `holds`.
void expect(bool holds, const std::string& what);

// `size` numbers between -1 and 1, the same for the same seed, in memory of exactly that size.
std::vector<float> numbers(int64_t size, uint32_t seed);

// The same as bf16 bits.
std::vector<uint16_t> bf16_numbers(int64_t size, uint32_t seed);

// Runs `work` in `threads` threads at once and rethrows what one of them throws.
void at_once(int threads, const std::function<void(int)>& work);

}  // namespace spar::testing
