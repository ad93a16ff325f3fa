// The components of one checkpoint on the native model: packed at first use, run from any thread.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "c_api/checkpoint.h"
#include "model/model.h"

namespace spar::c_api {

using Flag = const std::atomic<bool>*;  // null: nobody cancels

class Runner {
 public:
  Runner(const Checkpoint& checkpoint, const std::string& precision, int threads, bool pin, const std::string& isa);

  // Packs a component; nothing where it is packed already.
  void load(const std::string& component);
  // Throws Cancelled where the flag is set.
  cpu::Outputs run(const std::string& component, const cpu::Inputs& inputs, Flag cancel);

  const cpu::Model& model() const { return model_; }

 private:
  const Checkpoint& checkpoint_;
  cpu::Model model_;
  std::mutex packing_;
};

// Arrays as inputs; the memory stays the caller's.
cpu::Input floats(const float* data, cpu::Shape shape);
cpu::Input floats(const std::vector<float>& data, cpu::Shape shape);
cpu::Input wholes(const std::vector<int64_t>& data);

// An output as a vector.
std::vector<float> taken(const cpu::Outputs& outputs, const std::string& name);

}  // namespace spar::c_api
