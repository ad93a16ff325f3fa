// A file mapped read-only. One that another process shortens while it is mapped ends this one: replace files by
// renaming.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace spar::c_api {

class Mapped {
 public:
  // CheckpointError where it is no regular file or cannot be read.
  explicit Mapped(const std::string& path);
  ~Mapped();
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return {data_, size_}; }

 private:
  std::string path_;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

bool is_file(const std::string& path);
bool is_directory(const std::string& path);

}  // namespace spar::c_api
