#include "c_api/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "c_api/error.h"
#include "c_api/json.h"
#include "c_api/utf8.h"
#include "core/types.h"

namespace spar::c_api {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit

struct Element {
  const char* name;
  Dtype dtype;
  int64_t bytes;
};
constexpr Element kElements[] = {
    {"F64", Dtype::f64, 8},         {"F32", Dtype::f32, 4},         {"F16", Dtype::f16, 2},   {"BF16", Dtype::bf16, 2},
    {"F8_E4M3", Dtype::f8_e4m3, 1}, {"F8_E5M2", Dtype::f8_e5m2, 1}, {"I64", Dtype::other, 8}, {"I32", Dtype::other, 4},
    {"I16", Dtype::other, 2},       {"I8", Dtype::other, 1},        {"U64", Dtype::other, 8}, {"U32", Dtype::other, 4},
    {"U16", Dtype::other, 2},       {"U8", Dtype::other, 1},        {"BOOL", Dtype::other, 1}};

[[noreturn]] void bad(const std::string& path, const std::string& what) { throw CheckpointError(path + ": " + what); }

// Names the formats that are given by mistake. A safetensors file can begin with any of these bytes by chance.
void refuse_foreign(const std::string& path, std::string_view file) {
  if (file.starts_with("PK\x03\x04") || (file[0] == '\x80' && file[1] >= 2 && file[1] <= 5))
    bad(path, "is a PyTorch pickle, not safetensors; convert it with: spar-export convert " + path + " OUT");
  if (file.starts_with("version ")) bad(path, "is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
}

std::string_view header_text(const std::string& path, std::string_view file) {
  const std::string size = std::to_string(file.size());
  if (file.empty()) bad(path, "is empty; download or save it again");
  if (file.size() < 9) bad(path, "has " + size + " bytes, too few for a safetensors file; download or save it again");
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(file[static_cast<size_t>(i)]);
  if (file[8] != '{' || length > file.size() - 8) refuse_foreign(path, file);
  if (length > kMaxHeader)
    bad(path, "its first bytes give a header of " + std::to_string(length) + " bytes, above the limit of " +
                  std::to_string(kMaxHeader) + "; it is not a safetensors file");
  if (length > file.size() - 8)
    bad(path, "its header of " + std::to_string(length) + " bytes does not fit the file of " + size +
                  " bytes; it was cut short, download or save it again");
  return file.substr(8, length);
}

// Whole numbers of at least 0, or CheckpointError.
std::vector<int64_t> wholes(const Json* json, const std::string& where, size_t most) {
  const auto* list = json ? json->as<Json::List>() : nullptr;
  std::vector<int64_t> found;
  if (list && list->size() <= most)
    for (const Json& item : *list)
      if (const auto* number = item.as<int64_t>(); number && *number >= 0) found.push_back(*number);
  if (!list || found.size() != list->size())
    throw CheckpointError(where + " " + (json ? json->shown() : "null") + ", not whole numbers of at least 0");
  return found;
}

TensorInfo tensor_info(const std::string& path, const std::string& name, const Json& entry, size_t start) {
  const std::string where = path + ": `" + name + "`";
  const auto* members = entry.as<Json::Object>();
  const Json *dtype = entry.find("dtype"), *shape = entry.find("shape"), *offsets = entry.find("data_offsets");
  if (!members || members->size() != 3 || !dtype || !shape || !offsets)
    throw CheckpointError(where + " must have exactly dtype, shape and data_offsets in the header");
  const auto* kind = dtype->as<std::string>();
  const auto* element = std::find_if(std::begin(kElements), std::end(kElements),
                                     [&](const Element& e) { return kind && *kind == e.name; });
  if (element == std::end(kElements)) throw CheckpointError(where + " has the unknown dtype " + dtype->shown());
  TensorInfo info{element->dtype, element->name, wholes(shape, where + " has the shape", 64), 0, 0};
  const auto place = wholes(offsets, where + " has data_offsets", 2);
  if (place.size() != 2 || place[0] > place[1])
    throw CheckpointError(where + " has data_offsets " + offsets->shown() + ", not [begin, end] with begin <= end");
  int64_t need = element->bytes, most = element->bytes;  // `most`: as if no axis were 0, so that no product overflows
  for (const int64_t size : info.shape)
    if (__builtin_mul_overflow(most, std::max<int64_t>(size, 1), &most))
      throw CheckpointError(where + " has the shape " + shape->shown() +
                            ", which no memory holds; the header is damaged");
  for (const int64_t size : info.shape) need *= size;
  if (need != place[1] - place[0])
    throw CheckpointError(where + " of shape " + shape->shown() + " and dtype " + info.dtype_name + " needs " +
                          std::to_string(need) + " bytes, its data_offsets give " +
                          std::to_string(place[1] - place[0]) + "; the header is damaged");
  if (static_cast<uint64_t>(place[1]) > std::numeric_limits<uint64_t>::max() / 2 - start)
    throw CheckpointError(where + " has data_offsets " + offsets->shown() +
                          ", which no file has; the header is damaged");
  info.begin = start + static_cast<size_t>(place[0]);
  info.end = start + static_cast<size_t>(place[1]);
  return info;
}

float from_e4m3(unsigned code) {
  const unsigned exponent = code >> 3 & 15, fraction = code & 7;
  float value = exponent ? std::ldexp(static_cast<float>(8 + fraction), static_cast<int>(exponent) - 10)
                         : std::ldexp(static_cast<float>(fraction), -9);
  if ((code & 0x7F) == 0x7F) value = std::numeric_limits<float>::quiet_NaN();
  return code & 0x80 ? -value : value;
}

}  // namespace

int64_t TensorInfo::count() const {
  int64_t total = 1;
  for (const int64_t size : shape) total *= size;
  return total;
}

TensorInfos read_header(const std::string& path, std::string_view file) {
  const std::string_view text = header_text(path, file);
  const size_t start = 8 + text.size();
  Json header;
  try {
    header = parse_json(text);
  } catch (const JsonError& error) {
    bad(path, std::string("its header is not JSON (") + error.what() + "); it is not a safetensors file");
  }
  const auto* entries = header.as<Json::Object>();
  if (!entries) bad(path, std::string("its header is a JSON ") + header.kind() + ", not an object");
  TensorInfos found;
  for (const auto& [name, entry] : *entries) {
    if (name == "__metadata__") {
      const auto* pairs = entry.as<Json::Object>();
      if (!pairs || !std::all_of(pairs->begin(), pairs->end(),
                                 [](const auto& pair) { return pair.second.template as<std::string>(); }))
        bad(path, "header entry __metadata__ must map text to text");
      continue;
    }
    if (name.empty() || count_points(name) > 1000 ||
        std::any_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }))
      bad(path, "header holds a name that is not 1 to 1000 printable characters; the file is damaged");
    found.emplace_back(name, tensor_info(path, name, entry, start));
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.begin, a.second.end) < std::pair(b.second.begin, b.second.end);
  });
  size_t position = start;
  for (const auto& [name, info] : found) {
    if (info.begin != position)
      bad(path, "`" + name + "` begins at data byte " + std::to_string(info.begin - start) + " and " +
                    (info.begin < position ? "overlaps the one before it" : "leaves a gap before it") +
                    ", which ends at " + std::to_string(position - start) + "; the header is damaged");
    position = info.end;
  }
  if (position != file.size())
    bad(path, "has " + std::to_string(file.size()) + " bytes, its header describes " + std::to_string(position) +
                  "; it " + (position > file.size() ? "was cut short" : "has bytes that no tensor owns") +
                  ", download or save it again");
  return found;
}

int64_t bytes_of(Dtype dtype) {
  for (const Element& element : kElements)
    if (element.dtype == dtype) return element.bytes;
  return 0;
}

void read_floats(const char* from, Dtype dtype, int64_t count, float* to) {
  const int64_t size = bytes_of(dtype);
  if (dtype == Dtype::f32) {
    std::memcpy(to, from, static_cast<size_t>(count) * 4);
    return;
  }
  for (int64_t i = 0; i < count; ++i, from += size) {
    uint16_t bits = 0;
    double wide = 0;
    switch (dtype) {
      case Dtype::f64:
        std::memcpy(&wide, from, 8);
        to[i] = static_cast<float>(wide);
        break;
      case Dtype::f8_e4m3: to[i] = from_e4m3(static_cast<unsigned char>(*from)); break;
      case Dtype::f8_e5m2:  // the upper half of a half
        to[i] = cpu::half_to_f32(static_cast<uint16_t>(static_cast<unsigned char>(*from) << 8));
        break;
      default:
        std::memcpy(&bits, from, 2);
        to[i] = dtype == Dtype::bf16 ? cpu::to_f32(cpu::bf16{bits}) : cpu::half_to_f32(bits);
    }
  }
}

}  // namespace spar::c_api
