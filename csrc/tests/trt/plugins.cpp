// The plugins over stand-ins: shapes, formats, attributes, copies, and what reaches the CUDA ops. No GPU, no TensorRT.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "engine/cuda.h"
#include "plugin.h"

namespace {

int failures = 0;

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);          \
      ++failures;                                                          \
    }                                                                      \
  } while (0)

spar::DynamicTokenRouting routed{};
spar::ReluLinearAttention attended{};
spar::GlumbconvCore gated{};
void *routed_scratch = nullptr, *attended_scratch = nullptr, *seen_stream = nullptr;
bool refuse = false;

}  // namespace

namespace spar::cuda {

int64_t dynamic_token_routing_workspace(int64_t tokens, int64_t hidden, int64_t depth) {
  return 1000 * tokens + 10 * hidden + depth;
}
int64_t relu_linear_attention_workspace(int64_t batch, int64_t heads, int64_t tokens, int64_t head_dim) {
  return ((batch * 10 + heads) * 100 + tokens) * 100 + head_dim;
}
void dynamic_token_routing(const DynamicTokenRouting& args, void* workspace, Stream stream) {
  if (refuse) throw std::bad_alloc();
  routed = args, routed_scratch = workspace, seen_stream = stream;
}
void relu_linear_attention(const ReluLinearAttention& args, void* workspace, Stream stream) {
  attended = args, attended_scratch = workspace, seen_stream = stream;
}

void glumbconv_core(const GlumbconvCore& args, Stream stream) {
  if (refuse) throw std::bad_alloc();
  gated = args, seen_stream = stream;
}

}  // namespace spar::cuda

using namespace nvinfer1;

namespace {

struct Size final : apiv::VDimensionExpr, IDimensionExpr {
  explicit Size(int64_t given) : value(given) { mImpl = this; }
  bool isConstant() const noexcept override { return true; }
  int64_t getConstantValue() const noexcept override { return value; }
  bool isSizeTensor() const noexcept override { return false; }
  int64_t value;
};

struct Sizes final : apiv::VExprBuilder, IExprBuilder {
  Sizes() { mImpl = this; }
  IDimensionExpr const* constant(int64_t value) noexcept override { return new Size(value); }
  IDimensionExpr const* operation(DimensionOperation kind, IDimensionExpr const& a, IDimensionExpr const& b) noexcept override {
    return kind == DimensionOperation::kFLOOR_DIV ? new Size(a.getConstantValue() / b.getConstantValue()) : nullptr;
  }
  IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) noexcept override {
    return nullptr;
  }
};

DynamicPluginTensorDesc tensor(DataType type, std::initializer_list<int64_t> sizes, TensorFormat format = TensorFormat::kLINEAR) {
  DynamicPluginTensorDesc made{};
  made.desc.type = type;
  made.desc.format = format;
  made.desc.dims.nbDims = static_cast<int32_t>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), made.desc.dims.d);
  made.max = made.opt = made.min = made.desc.dims;
  return made;
}

IPluginCreatorV3One* creator(const char* name) {
  int32_t count = 0;
  for (IPluginCreatorInterface* const* one = getCreators(count); count > 0; ++one, --count) {
    auto* found = static_cast<IPluginCreatorV3One*>(*one);
    if (!std::strcmp(found->getPluginName(), name)) return found;
  }
  std::printf("there is no creator %s\n", name);
  std::exit(1);
}

std::unique_ptr<IPluginV3> make(const char* name, const char* attribute, float value) {
  PluginField field{attribute, &value, PluginFieldType::kFLOAT32, 1};
  PluginFieldCollection fields{1, &field};
  return std::unique_ptr<IPluginV3>(creator(name)->createPlugin(name, &fields, TensorRTPhase::kBUILD));
}

template <class Capability>
Capability& as(IPluginV3& plugin, PluginCapabilityType type) {
  return *static_cast<Capability*>(plugin.getCapabilityInterface(type));
}

float kept(IPluginV3& plugin, const char* attribute) {
  const auto* fields = as<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME).getFieldsToSerialize();
  CHECK(fields->nbFields == 1 && !std::strcmp(fields->fields[0].name, attribute));
  return *static_cast<const float*>(fields->fields[0].data);
}

constexpr DataType kHalf = DataType::kBF16, kWide = DataType::kFLOAT;

std::vector<DynamicPluginTensorDesc> routing_tensors(int64_t depth, int64_t tokens, int64_t width, int64_t hidden) {
  return {tensor(kHalf, {depth, tokens, width}), tensor(kHalf, {hidden, width}), tensor(kWide, {hidden}),
          tensor(kHalf, {depth, hidden}),        tensor(kWide, {depth}),         tensor(kWide, {depth}),
          tensor(kWide, {width}),                tensor(kWide, {width}),         tensor(kHalf, {width, width}),
          tensor(kWide, {width}),                tensor(kHalf, {tokens, width})};
}

// batch, rows, columns, hidden -> x, weight, bias, out
std::vector<DynamicPluginTensorDesc> core_tensors(int64_t batch, int64_t rows, int64_t columns, int64_t hidden) {
  return {tensor(kHalf, {batch, rows, columns, 2 * hidden}), tensor(kHalf, {9, 2 * hidden}), tensor(kWide, {2 * hidden}),
          tensor(kHalf, {batch, rows, columns, hidden})};
}

void test_creators() {
  int32_t count = 0;
  getCreators(count);
  CHECK(count == 3);
  for (const char* name : {"DynamicTokenRouting", "GlumbconvCore", "ReluLinearAttention"}) {
    auto* found = creator(name);
    CHECK(!std::strcmp(found->getPluginVersion(), "1") && !std::strcmp(found->getPluginNamespace(), "spar"));
    CHECK(found->getFieldNames()->nbFields == (std::strcmp(name, "GlumbconvCore") ? 1 : 0));
  }
}

void test_attributes() {
  auto plugin = make("DynamicTokenRouting", "temperature", 0.7F);
  CHECK(plugin && kept(*plugin, "temperature") == 0.7F);
  std::unique_ptr<IPluginV3> copy(plugin->clone());
  CHECK(kept(*copy, "temperature") == 0.7F);
  auto usual = make("DynamicTokenRouting", "plugin_version", 9.0F);  // not ours: left alone
  CHECK(usual && kept(*usual, "temperature") == 1.0F);
  CHECK(!make("DynamicTokenRouting", "temperature", 0.0F));
  CHECK(!make("ReluLinearAttention", "eps", -1.0F));
  CHECK(!make("ReluLinearAttention", "eps", NAN));
  const int32_t whole = 3;
  PluginField field{"eps", &whole, PluginFieldType::kINT32, 1};
  PluginFieldCollection fields{1, &field};
  CHECK(!creator("ReluLinearAttention")->createPlugin("x", &fields, TensorRTPhase::kBUILD));
  std::unique_ptr<IPluginV3> none(creator("ReluLinearAttention")->createPlugin("x", nullptr, TensorRTPhase::kRUNTIME));
  CHECK(none && kept(*none, "eps") == 1e-15F);
}

void test_round_trip() {
  // A plan stores the fields; the runtime makes the plugin from them again.
  auto plugin = make("ReluLinearAttention", "eps", 3e-9F);
  const auto* stored = as<IPluginV3OneRuntime>(*plugin, PluginCapabilityType::kRUNTIME).getFieldsToSerialize();
  std::unique_ptr<IPluginV3> again(
      creator("ReluLinearAttention")->createPlugin("x", stored, TensorRTPhase::kRUNTIME));
  CHECK(kept(*again, "eps") == 3e-9F);
}

void test_formats() {
  auto plugin = make("DynamicTokenRouting", "temperature", 1.0F);
  auto& build = as<IPluginV3OneBuild>(*plugin, PluginCapabilityType::kBUILD);
  auto tensors = routing_tensors(4, 7, 16, 8);
  for (int32_t pos = 0; pos <= 10; ++pos) {
    CHECK(build.supportsFormatCombination(pos, tensors.data(), 10, 1));
    auto other = tensors;
    other[pos].desc.type = tensors[pos].desc.type == kHalf ? kWide : kHalf;
    CHECK(!build.supportsFormatCombination(pos, other.data(), 10, 1));
    other = tensors;
    other[pos].desc.format = TensorFormat::kCHW32;
    CHECK(!build.supportsFormatCombination(pos, other.data(), 10, 1));
  }
  CHECK(!build.supportsFormatCombination(11, tensors.data(), 10, 1));
  CHECK(!build.supportsFormatCombination(0, tensors.data(), 9, 1));
  DataType type = DataType::kINT8;
  CHECK(build.getOutputDataTypes(&type, 1, nullptr, 10) == 0 && type == kHalf);
  CHECK(build.getOutputDataTypes(&type, 1, nullptr, 3) != 0);
}

void test_shapes() {
  Sizes sizes;
  auto routing = make("DynamicTokenRouting", "temperature", 1.0F);
  DimsExprs in[10]{}, out{};
  in[0].nbDims = 3;
  for (int64_t i = 0; i < 3; ++i) in[0].d[i] = sizes.constant(10 + i);
  auto& build = as<IPluginV3OneBuild>(*routing, PluginCapabilityType::kBUILD);
  CHECK(build.getOutputShapes(in, 10, nullptr, 0, &out, 1, sizes) == 0);
  CHECK(out.nbDims == 2 && out.d[0]->getConstantValue() == 11 && out.d[1]->getConstantValue() == 12);
  in[0].nbDims = 2;
  CHECK(build.getOutputShapes(in, 10, nullptr, 0, &out, 1, sizes) != 0);
  CHECK(build.getNbOutputs() == 1);
  auto attention = make("ReluLinearAttention", "eps", 1.0F);
  for (auto& one : {0, 1, 2}) {
    in[one].nbDims = 4;
    for (int64_t i = 0; i < 4; ++i) in[one].d[i] = sizes.constant(20 + i);
  }
  CHECK(as<IPluginV3OneBuild>(*attention, PluginCapabilityType::kBUILD)
            .getOutputShapes(in, 3, nullptr, 0, &out, 1, sizes) == 0);
  CHECK(out.nbDims == 4 && out.d[3]->getConstantValue() == 23);
}

void test_workspace_is_for_the_largest_shapes() {
  auto plugin = make("DynamicTokenRouting", "temperature", 1.0F);
  auto tensors = routing_tensors(4, 7, 16, 8);
  tensors[0].max.d[1] = 50;
  auto& build = as<IPluginV3OneBuild>(*plugin, PluginCapabilityType::kBUILD);
  CHECK(build.getWorkspaceSize(tensors.data(), 10, &tensors[10], 1) == 1000 * 50 + 10 * 8 + 4);
}

int32_t changed(IPluginV3& plugin, const std::vector<DynamicPluginTensorDesc>& tensors) {
  std::vector<PluginTensorDesc> descs;
  for (const auto& one : tensors) descs.push_back(one.desc);
  const auto inputs = static_cast<int32_t>(descs.size()) - 1;
  return as<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME)
      .onShapeChange(descs.data(), inputs, &descs.back(), 1);
}

void test_shapes_that_do_not_fit() {
  auto plugin = make("DynamicTokenRouting", "temperature", 1.0F);
  CHECK(changed(*plugin, routing_tensors(4, 7, 16, 8)) == 0);
  CHECK(changed(*plugin, routing_tensors(33, 7, 16, 8)) != 0);
  CHECK(changed(*plugin, routing_tensors(4, 7, 12, 8)) != 0);
  CHECK(changed(*plugin, routing_tensors(4, 7, 3080, 8)) != 0);
  for (int32_t i = 1; i < 10; ++i) {
    auto tensors = routing_tensors(4, 7, 16, 8);
    tensors[i].desc.dims.d[0] += 8;
    CHECK(changed(*plugin, tensors) != 0);
  }
  auto attention = make("ReluLinearAttention", "eps", 1.0F);
  const auto four = [](int64_t tokens, int64_t head_dim) { return tensor(kHalf, {2, 3, tokens, head_dim}); };
  CHECK(changed(*attention, {four(5, 32), four(5, 32), four(5, 32), four(5, 32)}) == 0);
  CHECK(changed(*attention, {four(5, 24), four(5, 24), four(5, 24), four(5, 24)}) != 0);
  CHECK(changed(*attention, {four(5, 32), four(6, 32), four(5, 32), four(5, 32)}) != 0);
}

// The core has no attribute: fields that a parser passes are left alone, and none is stored.
void test_core() {
  auto plugin = make("GlumbconvCore", "plugin_version", 0.0F);
  CHECK(plugin != nullptr);
  auto& runtime = as<IPluginV3OneRuntime>(*plugin, PluginCapabilityType::kRUNTIME);
  CHECK(runtime.getFieldsToSerialize()->nbFields == 0);
  std::unique_ptr<IPluginV3> again(
      creator("GlumbconvCore")->createPlugin("x", runtime.getFieldsToSerialize(), TensorRTPhase::kRUNTIME));
  CHECK(again != nullptr);

  const auto tensors = core_tensors(2, 5, 7, 24);
  auto& build = as<IPluginV3OneBuild>(*plugin, PluginCapabilityType::kBUILD);
  for (int32_t pos = 0; pos <= 3; ++pos) {
    CHECK(build.supportsFormatCombination(pos, tensors.data(), 3, 1));
    auto other = tensors;
    other[pos].desc.type = tensors[pos].desc.type == kHalf ? kWide : kHalf;
    CHECK(!build.supportsFormatCombination(pos, other.data(), 3, 1));
  }
  CHECK(build.getWorkspaceSize(tensors.data(), 3, &tensors[3], 1) == 0);
  Sizes sizes;
  DimsExprs in[3]{}, out{};
  in[0].nbDims = 4;
  for (int64_t i = 0; i < 4; ++i) in[0].d[i] = sizes.constant(30 + 2 * i);
  CHECK(build.getOutputShapes(in, 3, nullptr, 0, &out, 1, sizes) == 0);
  CHECK(out.nbDims == 4 && out.d[1]->getConstantValue() == 32 && out.d[3]->getConstantValue() == 18);
  in[0].nbDims = 3;
  CHECK(build.getOutputShapes(in, 3, nullptr, 0, &out, 1, sizes) != 0);

  CHECK(changed(*plugin, tensors) == 0);
  CHECK(changed(*plugin, core_tensors(2, 5, 7, 12)) != 0);
  CHECK(changed(*plugin, core_tensors(65536, 1, 1, 8)) != 0);
  for (int32_t i = 1; i < 3; ++i) {
    auto other = tensors;
    other[i].desc.dims.d[0] += 16;
    CHECK(changed(*plugin, other) != 0);
  }

  PluginTensorDesc descs[4];
  void* places[4];
  char memory[8];
  for (int32_t i = 0; i < 4; ++i) descs[i] = tensors[i].desc, places[i] = memory + i;
  const auto stream = reinterpret_cast<cudaStream_t>(memory + 7);
  CHECK(runtime.enqueue(descs, &descs[3], places, &places[3], nullptr, stream) == 0);
  CHECK(gated.batch == 2 && gated.rows == 5 && gated.columns == 7 && gated.hidden == 24 && seen_stream == stream);
  CHECK(static_cast<const void*>(gated.x) == places[0] && static_cast<const void*>(gated.weight) == places[1]);
  CHECK(static_cast<const void*>(gated.bias) == places[2] && static_cast<void*>(gated.out) == places[3]);
  refuse = true;
  CHECK(runtime.enqueue(descs, &descs[3], places, &places[3], nullptr, stream) != 0);
  refuse = false;
}

void test_launches() {
  auto plugin = make("DynamicTokenRouting", "temperature", 0.5F);
  const auto tensors = routing_tensors(4, 7, 16, 8);
  PluginTensorDesc descs[11];
  void* places[11];
  char memory[16];
  for (int32_t i = 0; i < 11; ++i) descs[i] = tensors[i].desc, places[i] = memory + i;
  auto& runtime = as<IPluginV3OneRuntime>(*plugin, PluginCapabilityType::kRUNTIME);
  const auto stream = reinterpret_cast<cudaStream_t>(memory + 15);
  CHECK(runtime.enqueue(descs, &descs[10], places, &places[10], memory + 14, stream) == 0);
  CHECK(routed.depth == 4 && routed.tokens == 7 && routed.width == 16 && routed.hidden == 8);
  CHECK(routed.level_stride == 7 * 16 && routed.temperature == 0.5F && routed.eps == 1e-5F && routed.weights == nullptr);
  const void* given[] = {routed.levels.data, routed.w1.data,     routed.b1,        routed.w2.data,          routed.b2,
                         routed.scales,      routed.norm_weight, routed.norm_bias, routed.proj_weight.data, routed.proj_bias};
  for (int32_t i = 0; i < 10; ++i) CHECK(given[i] == places[i]);
  CHECK(routed.routed == places[10] && routed_scratch == memory + 14 && seen_stream == stream);
  refuse = true;
  CHECK(runtime.enqueue(descs, &descs[10], places, &places[10], memory, stream) != 0);

  auto attention = make("ReluLinearAttention", "eps", 1e-6F);
  for (int32_t i = 0; i < 4; ++i) descs[i] = tensor(kHalf, {2, 3, 5, 32}).desc;
  auto& other = as<IPluginV3OneRuntime>(*attention, PluginCapabilityType::kRUNTIME);
  CHECK(other.enqueue(descs, &descs[3], places, &places[3], memory, stream) == 0);
  CHECK(attended.query == places[0] && attended.key == places[1] && attended.value == places[2]);
  CHECK(attended.out == places[3] && attended.eps == 1e-6F && attended.dtype == spar::Dtype::bf16);
  CHECK(attended.query_strides.batch == 480 && attended.out_strides.head == 160 && attended.key_strides.token == 32);
}

}  // namespace

int main() {
  test_creators();
  test_attributes();
  test_round_trip();
  test_formats();
  test_shapes();
  test_workspace_is_for_the_largest_shapes();
  test_shapes_that_do_not_fit();
  test_core();
  test_launches();
  std::printf(failures ? "%d checks failed\n" : "all checks passed\n", failures);
  return failures != 0;
}
