#include "c_api/runner.h"

#include "c_api/error.h"

namespace spar::c_api {

Runner::Runner(const Checkpoint& checkpoint, const std::string& precision, int threads, bool pin,
               const std::string& isa)
    : checkpoint_(checkpoint), model_(checkpoint.config().components(), precision, threads, pin, isa) {}

void Runner::load(const std::string& component) {
  if (model_.loaded(component)) return;  // a call of one component does not wait for the packing of another
  const std::lock_guard lock(packing_);
  if (model_.loaded(component)) return;
  const Checkpoint::Borrowed weights = checkpoint_.borrow(component);
  // Address space only. Panels are padded to 32 columns, and a block of few channels is mostly padding.
  model_.load(component, weights.tensors, 16 * weights.elements + (size_t{64} << 20));
}

cpu::Outputs Runner::run(const std::string& component, const cpu::Inputs& inputs, Flag cancel) {
  if (cancel && cancel->load(std::memory_order_relaxed)) throw Cancelled{};
  load(component);
  try {
    return model_.run(component, inputs, false, cancel);
  } catch (const cpu::Stopped&) {
    throw Cancelled{};
  }
}

cpu::Input floats(const float* data, cpu::Shape shape) {
  cpu::Input input;
  input.f32 = data;
  input.shape = std::move(shape);
  return input;
}

cpu::Input floats(const std::vector<float>& data, cpu::Shape shape) { return floats(data.data(), std::move(shape)); }

cpu::Input wholes(const std::vector<int64_t>& data) {
  cpu::Input input;
  input.whole = data.data();
  input.shape = {static_cast<int64_t>(data.size())};
  return input;
}

std::vector<float> taken(const cpu::Outputs& outputs, const std::string& name) {
  const cpu::Output& output = outputs.arrays.at(name);
  int64_t count = 1;
  for (const int64_t size : output.shape) count *= size;
  return {output.data.get(), output.data.get() + count};
}

}  // namespace spar::c_api
