// A safetensors file, mapped read-only. Nothing of it is used before its whole header has been checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "c_api/mapped.h"

namespace spar::c_api {

// How elements are stored. Only the float types can be parameters.
enum class Dtype : uint8_t { f64, f32, f16, bf16, f8_e4m3, f8_e5m2, other };

struct TensorInfo {
  Dtype dtype;
  std::string dtype_name;
  std::vector<int64_t> shape;
  size_t begin, end;  // bytes from the start of the file

  int64_t count() const;
};

using TensorInfos = std::vector<std::pair<std::string, TensorInfo>>;

// The checked header of the bytes of a whole file, in the order of the data; `path` names it in messages.
// CheckpointError for one that is cut short, of another format, or whose header contradicts itself or its size.
TensorInfos read_header(const std::string& path, std::string_view file);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path) : file_(path), tensors_(read_header(path, file_.bytes())) {}
  const std::string& path() const { return file_.path(); }
  const TensorInfos& tensors() const { return tensors_; }
  const char* data(const TensorInfo& info) const { return file_.bytes().data() + info.begin; }

 private:
  Mapped file_;
  TensorInfos tensors_;
};

// `count` elements as float32, from memory of any alignment.
void read_floats(const char* from, Dtype dtype, int64_t count, float* to);
int64_t bytes_of(Dtype dtype);  // of one element of a float type

}  // namespace spar::c_api
