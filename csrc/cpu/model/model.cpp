#include "model/model.h"

#include <mutex>

#include "engine/error.h"

namespace spar::cpu {
namespace {

Type weights_of(const std::string& precision) {
  if (precision == "fp32") return Type::f32;
  if (precision == "bf16") return Type::bf16;
  if (precision == "int8") return Type::s8;
  if (precision == "int4") return Type::s4;
  throw BackendError("native: precision='" + precision + "' is unknown; it has fp32, bf16, int8, int4");
}

}  // namespace

Model::Model(Config config, const std::string& precision, int threads, bool pin, const std::string& isa)
    : config_(std::move(config)),
      kernels_(kernels(isa)),
      weights_(weights_of(precision)),
      activations_(weights_ == Type::f32 ? Type::f32 : Type::bf16),
      pool_(threads, pin) {}

void Model::build(const std::string& name, const Tensors& tensors, std::unique_ptr<Store> store,
                  std::shared_ptr<char> memory) {
  auto made = std::make_shared<Loaded>();
  made->store = std::move(store);
  made->memory = std::move(memory);
  {
    Pool::Seat seat(pool_);
    Loader loader(tensors, *made->store, seat, weights_);
    made->component = make_component(name, config_, loader);
  }
  std::unique_lock lock(lock_);
  loaded_[name] = std::move(made);
}

void Model::load(const std::string& name, const Tensors& tensors, size_t reserve) {
  build(name, tensors, std::make_unique<Store>(reserve), nullptr);
}

void Model::restore(const std::string& name, const Tensors& tensors, std::shared_ptr<char> memory, size_t bytes) {
  build(name, tensors, std::make_unique<Store>(memory.get(), bytes), memory);
}

std::shared_ptr<const Model::Loaded> Model::find(const std::string& name) const {
  std::shared_lock lock(lock_);
  const auto found = loaded_.find(name);
  return found == loaded_.end() ? nullptr : found->second;
}

bool Model::loaded(const std::string& name) const { return find(name) != nullptr; }

void Model::unload(const std::string& name) {
  std::unique_lock lock(lock_);
  loaded_.erase(name);
}

std::pair<const char*, size_t> Model::packed(const std::string& name) const {
  const auto found = find(name);
  if (!found) throw InputError("native: component " + name + " is not loaded");
  return {found->store->data(), found->store->used()};
}

Outputs Model::run(const std::string& name, const Inputs& inputs, bool taps, const std::atomic<bool>* cancelled) {
  const auto found = find(name);
  if (!found) throw InputError("native: component " + name + " is not loaded");
  Outputs outputs;
  Pool::Seat seat(pool_);
  Arenas::Lease arena(arenas_);
  Run run(kernels_, seat, *arena, activations_, cancelled, taps ? &outputs : nullptr);
  found->component->run(run, inputs, outputs);
  return outputs;
}

}  // namespace spar::cpu
