// What every function of spar.h does at its edge: no exception passes, a status and words come out.
#pragma once

#include <atomic>
#include <string>

#include "c_api/engine.h"
#include "c_api/error.h"
#include "c_api/pictures.h"
#include "spar.h"

struct spar_engine {
  spar::c_api::Engine engine;
  std::string name;
  spar_precision precision;
};

struct spar_cancel {
  std::atomic<bool> set{false};
};

namespace spar::c_api {

// Puts words where spar_error finds them. Takes no memory.
spar_status failed(spar_status status, const char* words) noexcept;
// The same for the exception in flight.
spar_status failed_with_current() noexcept;

template <class Body>
spar_status guarded(const Body& body) noexcept {
  try {
    body();
    return SPAR_OK;
  } catch (...) {
    return failed_with_current();
  }
}

template <class T>
T& required(T* pointer, const char* name) {
  if (!pointer) throw InputError(std::string(name) + " is NULL; pass its address");
  return *pointer;
}

// The caller's options, or the defaults where there are none.
template <class Options>
Options options_of(const Options* given, void (*init)(Options*), const char* name) {
  Options made;
  init(&made);
  if (!given) return made;
  if (given->size != sizeof(Options))
    throw InputError(std::string(name) + ".size=" + std::to_string(given->size) + ", this library has " +
                     std::to_string(sizeof(Options)) + "; fill the struct with " + name +
                     "_init, and compile with this library's spar.h");
  return *given;
}

int64_t in_range(const char* name, int64_t value, int64_t least, int64_t most);
Bytes picture_of(const spar_picture* picture);
inline Flag flag_of(const spar_cancel* cancel) { return cancel ? &cancel->set : nullptr; }
void give(const std::vector<Bytes>& pictures, spar_images& to);

}  // namespace spar::c_api
