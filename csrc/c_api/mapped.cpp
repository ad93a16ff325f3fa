#include "c_api/mapped.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "c_api/error.h"

namespace spar::c_api {

Mapped::Mapped(const std::string& path) : path_(path) {
  const auto fail = [&](const std::string& why) {
    throw CheckpointError(path + ": cannot be read (" + why + "); check the path");
  };
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not block
  if (file < 0) fail(std::generic_category().message(errno));
  struct stat about{};
  const bool known = fstat(file, &about) == 0;
  if (!known || !S_ISREG(about.st_mode)) {
    ::close(file);
    fail("it is not a file");
  }
  size_ = static_cast<size_t>(about.st_size);
  void* found = size_ ? mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0) : nullptr;
  const int problem = errno;
  ::close(file);
  if (found == MAP_FAILED) fail(std::generic_category().message(problem));
  data_ = static_cast<const char*>(found);
}

Mapped::~Mapped() {
  if (data_) munmap(const_cast<char*>(data_), size_);
}

namespace {

bool has_mode(const std::string& path, mode_t mode) {
  struct stat about{};
  return stat(path.c_str(), &about) == 0 && (about.st_mode & S_IFMT) == mode;
}

}  // namespace

bool is_file(const std::string& path) { return has_mode(path, S_IFREG); }
bool is_directory(const std::string& path) { return has_mode(path, S_IFDIR); }

}  // namespace spar::c_api
