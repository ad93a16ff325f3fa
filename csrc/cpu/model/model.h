// A model on the CPU: components loaded one by one, run by several callers at a time.
#pragma once

#include <shared_mutex>

#include "model/component.h"

namespace spar::cpu {

class Model {
 public:
  // precision  "fp32", "bf16" (weights and activations; sums and the residual stream are f32), "int8" (large linears) or
  //            "int4" (those of the language model in 4 bits, the other large ones in int8)
  // threads    at least 1; all calls share them
  // isa        a name of engine/isa.h, or empty for the best one of this machine
  Model(Config config, const std::string& precision, int threads, bool pin, const std::string& isa);

  // Packs the weights of a component, replacing any earlier. `reserve` bounds the bytes they take.
  void load(const std::string& component, const Tensors& tensors, size_t reserve);
  // The same from what `packed` gave for an equal model and equal tensors; `memory` must outlive the component.
  void restore(const std::string& component, const Tensors& tensors, std::shared_ptr<char> memory, size_t bytes);
  bool loaded(const std::string& component) const;
  void unload(const std::string& component);
  // The packed weights of a loaded component: data and bytes.
  std::pair<const char*, size_t> packed(const std::string& component) const;

  // Throws Stopped when `cancelled` is set between blocks.
  Outputs run(const std::string& component, const Inputs& inputs, bool taps, const std::atomic<bool>* cancelled);

  // Bytes of scratch memory that runs have touched and the next ones will use again; and gives back what is idle.
  size_t scratch() const { return arenas_.peak(); }
  void trim() { arenas_.trim(); }

  Type activations() const { return activations_; }
  Isa isa() const { return kernels_.isa; }
  int threads() const { return pool_.threads(); }

 private:
  struct Loaded {
    std::unique_ptr<Store> store;
    std::shared_ptr<char> memory;
    std::unique_ptr<Component> component;
  };
  void build(const std::string& component, const Tensors& tensors, std::unique_ptr<Store> store,
             std::shared_ptr<char> memory);
  std::shared_ptr<const Loaded> find(const std::string& component) const;

  const Config config_;
  const Kernels& kernels_;
  Type weights_, activations_;
  Pool pool_;
  Arenas arenas_;
  mutable std::shared_mutex lock_;
  std::map<std::string, std::shared_ptr<const Loaded>> loaded_;
};

}  // namespace spar::cpu
