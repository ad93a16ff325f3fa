// What the plugins share. A plugin holds a few numbers (its attributes), reads bf16 tensors in row-major order, and
// launches one of the CUDA ops; it owns no memory. Name, version and namespace are those of the ONNX node.
//
// A plugin class P gives: kName, kInputs, float attribute `value` with default kDefault named kAttribute (null: none),
//   wide(i)            whether input i is float32 (vectors) instead of bf16
//   shape(in, out, s)  dims of the one output from those of the inputs; sizes are made by s
//   workspace(in)      bytes of scratch for the largest shapes
//   launch(...)        one op
#pragma once

#include <NvInferRuntime.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

namespace spar::trt {

using namespace nvinfer1;

inline constexpr const char* kVersion = "1";
inline constexpr const char* kNamespace = "spar";

inline bool dense(const PluginTensorDesc& desc, DataType type) {
  return desc.format == TensorFormat::kLINEAR && desc.type == type;
}

template <class P>
class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
 public:
  explicit Plugin(float value) : value_(value) {
    field_ = PluginField{P::kAttribute, &value_, PluginFieldType::kFLOAT32, 1};
    fields_ = PluginFieldCollection{P::kAttribute == nullptr ? 0 : 1, &field_};
  }

  // IPluginV3
  IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
    switch (type) {
      case PluginCapabilityType::kCORE:
        return static_cast<IPluginV3OneCore*>(this);
      case PluginCapabilityType::kBUILD:
        return static_cast<IPluginV3OneBuild*>(this);
      case PluginCapabilityType::kRUNTIME:
        return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }
  IPluginV3* clone() noexcept override { return new (std::nothrow) Plugin(value_); }

  // Core
  AsciiChar const* getPluginName() const noexcept override { return P::kName; }
  AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
  AsciiChar const* getPluginNamespace() const noexcept override { return kNamespace; }

  // Build
  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t configurePlugin(DynamicPluginTensorDesc const*, int32_t inputs, DynamicPluginTensorDesc const*,
                          int32_t outputs) noexcept override {
    return inputs == P::kInputs && outputs == 1 ? 0 : -1;
  }
  int32_t getOutputDataTypes(DataType* types, int32_t outputs, DataType const*, int32_t inputs) const noexcept override {
    if (inputs != P::kInputs || outputs != 1) return -1;
    types[0] = DataType::kBF16;
    return 0;
  }
  bool supportsFormatCombination(int32_t pos, DynamicPluginTensorDesc const* tensors, int32_t inputs,
                                 int32_t outputs) noexcept override {
    if (inputs != P::kInputs || outputs != 1 || pos < 0 || pos > inputs) return false;
    const bool wide = pos < inputs && P::wide(pos);
    return dense(tensors[pos].desc, wide ? DataType::kFLOAT : DataType::kBF16);
  }
  int32_t getOutputShapes(DimsExprs const* in, int32_t inputs, DimsExprs const*, int32_t, DimsExprs* out,
                          int32_t outputs, IExprBuilder& sizes) noexcept override {
    if (inputs != P::kInputs || outputs != 1) return -1;
    return P::shape(in, out[0], sizes) ? 0 : -1;
  }
  size_t getWorkspaceSize(DynamicPluginTensorDesc const* in, int32_t inputs, DynamicPluginTensorDesc const*,
                          int32_t) const noexcept override {
    if (inputs != P::kInputs) return 0;
    Dims dims[P::kInputs];
    for (int32_t i = 0; i < inputs; ++i) dims[i] = in[i].max;
    return static_cast<size_t>(P::workspace(dims));
  }

  // Runtime
  int32_t onShapeChange(PluginTensorDesc const* in, int32_t inputs, PluginTensorDesc const*, int32_t) noexcept override {
    if (inputs != P::kInputs) return -1;
    Dims dims[P::kInputs];
    for (int32_t i = 0; i < inputs; ++i) dims[i] = in[i].dims;
    const std::string fault = P::fault(dims);
    if (!fault.empty()) std::fprintf(stderr, "spar %s: %s\n", P::kName, fault.c_str());
    return fault.empty() ? 0 : -1;
  }
  int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs, void* const* outputs,
                  void* workspace, cudaStream_t stream) noexcept override {
    Dims dims[P::kInputs];
    for (int32_t i = 0; i < P::kInputs; ++i) dims[i] = in[i].dims;
    try {
      P::launch(dims, value_, inputs, outputs[0], workspace, stream);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "spar %s: %s\n", P::kName, error.what());
      return -1;
    }
    return 0;
  }
  IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }
  PluginFieldCollection const* getFieldsToSerialize() noexcept override { return &fields_; }

 private:
  float value_;
  PluginField field_{};
  PluginFieldCollection fields_{};
};

template <class P>
class Creator final : public IPluginCreatorV3One {
 public:
  Creator() {
    field_ = PluginField{P::kAttribute, nullptr, PluginFieldType::kFLOAT32, 1};
    fields_ = PluginFieldCollection{P::kAttribute == nullptr ? 0 : 1, &field_};
  }
  // The parser passes further attributes of a node (its plugin namespace and version); they are not ours to judge.
  IPluginV3* createPlugin(AsciiChar const*, [[maybe_unused]] PluginFieldCollection const* given, TensorRTPhase) noexcept override {
    float value = P::kDefault;
    if constexpr (P::kAttribute != nullptr) {
      for (int32_t i = 0; given != nullptr && i < given->nbFields; ++i) {
        const PluginField& field = given->fields[i];
        if (field.name == nullptr || std::strcmp(field.name, P::kAttribute) != 0) continue;
        if (field.type != PluginFieldType::kFLOAT32 || field.length != 1 || field.data == nullptr) {
          std::fprintf(stderr, "spar %s: attribute %s must be one float32\n", P::kName, P::kAttribute);
          return nullptr;
        }
        std::memcpy(&value, field.data, sizeof value);
      }
      if (!(value > 0.0F)) {
        std::fprintf(stderr, "spar %s: %s=%g must be above 0\n", P::kName, P::kAttribute, static_cast<double>(value));
        return nullptr;
      }
    }
    return new (std::nothrow) Plugin<P>(value);
  }
  PluginFieldCollection const* getFieldNames() noexcept override { return &fields_; }
  AsciiChar const* getPluginName() const noexcept override { return P::kName; }
  AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
  AsciiChar const* getPluginNamespace() const noexcept override { return kNamespace; }

 private:
  PluginField field_{};
  PluginFieldCollection fields_{};
};

IPluginCreatorInterface* dynamic_token_routing_creator();
IPluginCreatorInterface* glumbconv_core_creator();
IPluginCreatorInterface* relu_linear_attention_creator();

}  // namespace spar::trt

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);
