// What a DLPack capsule points to: the memory layout of the exchange, versions 0 and 1 (https://dmlc.github.io/dlpack).
// The fields' order and widths are the protocol's, the names are ours.
#pragma once

#include <cstdint>

namespace spar::cuda::dlpack {

enum Device : int32_t { kCpu = 1, kCuda = 2, kCudaManaged = 13 };
enum Code : uint8_t { kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4, kE4m3 = 10 };

struct Tensor {
  void* data;
  int32_t device_type, device_id;
  int32_t axes;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;  // in elements; null: dense
  uint64_t byte_offset;
};

// Capsule "dltensor".
struct Unversioned {
  static constexpr const char *kName = "dltensor", *kUsed = "used_dltensor";
  Tensor tensor;
  void* context;
  void (*deleter)(Unversioned*);
};

// Capsule "dltensor_versioned". Of another major version only the deleter may be touched.
struct Versioned {
  static constexpr const char *kName = "dltensor_versioned", *kUsed = "used_dltensor_versioned";
  static constexpr uint32_t kMajor = 1;
  static constexpr uint64_t kReadOnly = 1, kCopied = 2;
  uint32_t major, minor;
  void* context;
  void (*deleter)(Versioned*);
  uint64_t flags;
  Tensor tensor;
};

}  // namespace spar::cuda::dlpack
