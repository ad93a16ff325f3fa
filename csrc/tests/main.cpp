#include <cmath>
#include <cstdio>
#include <exception>
#include <random>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "core/types.h"
#include "testing.h"

namespace spar::testing {

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

std::vector<float> numbers(int64_t size, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> made(static_cast<size_t>(size));
  for (float& one : made) one = std::ldexp(static_cast<float>(generator() >> 8), -23) - 1;
  made.shrink_to_fit();
  return made;
}

std::vector<uint16_t> bf16_numbers(int64_t size, uint32_t seed) {
  std::vector<uint16_t> made;
  made.reserve(static_cast<size_t>(size));
  for (const float one : numbers(size, seed)) made.push_back(cpu::to_bf16(one).bits);
  return made;
}

void at_once(int threads, const std::function<void(int)>& work) {
  std::vector<std::exception_ptr> thrown(static_cast<size_t>(threads));
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i)
    running.emplace_back([&, i] {
      try {
        work(i);
      } catch (...) {
        thrown[static_cast<size_t>(i)] = std::current_exception();
      }
    });
  for (auto& thread : running) thread.join();
  for (const auto& one : thrown)
    if (one) std::rethrow_exception(one);
}

}  // namespace spar::testing

// spar_tests [PART_OF_A_NAME]: runs the tests whose name holds it; exit code 1 if one fails or none is found.
int main(int argc, char** argv) {
  const std::string_view wanted = argc > 1 ? argv[1] : "";
  int run = 0, failed = 0;
  for (const auto& test : spar::testing::tests()) {
    if (test.name.find(wanted) == std::string::npos) continue;
    ++run;
    try {
      test.run();
      std::printf("ok    %s\n", test.name.c_str());
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAIL  %s: %s\n", test.name.c_str(), error.what());
    }
  }
  std::printf("%d tests, %d failed\n", run, failed);
  return run == 0 || failed != 0;
}
