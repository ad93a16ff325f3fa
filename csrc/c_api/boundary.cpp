#include "c_api/boundary.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace spar::c_api {
namespace {

char* words_of_thread() noexcept {
  static thread_local char words[4096] = "";
  return words;
}

}  // namespace

spar_status failed(spar_status status, const char* words) noexcept {
  char* to = words_of_thread();
  size_t length = std::min<size_t>(std::strlen(words), 4095);
  if (words[length])  // not in the middle of a character
    while (length && (static_cast<unsigned char>(words[length]) & 0xC0) == 0x80) --length;
  std::memcpy(to, words, length);
  to[length] = 0;
  for (char* at = to; *at; ++at)
    if (static_cast<unsigned char>(*at) < 0x20) *at = ' ';
  return status;
}

spar_status failed_with_current() noexcept {
  try {
    throw;
  } catch (const Cancelled&) {
    return failed(SPAR_CANCELLED, "cancelled: the caller asked to stop");
  } catch (const InputError& error) {
    return failed(SPAR_INPUT, error.what());
  } catch (const ConfigError& error) {
    return failed(SPAR_CONFIG, error.what());
  } catch (const CheckpointError& error) {
    return failed(SPAR_CHECKPOINT, error.what());
  } catch (const BackendError& error) {
    return failed(SPAR_BACKEND, error.what());
  } catch (const std::bad_alloc&) {
    return failed(SPAR_MEMORY, "memory ran out; use a smaller size, another precision, or a machine with more");
  } catch (const std::length_error&) {
    return failed(SPAR_MEMORY, "something is larger than any memory; use a smaller size");
  } catch (const std::exception& error) {
    return failed(SPAR_INTERNAL, error.what());
  } catch (...) {
    return failed(SPAR_INTERNAL, "a callback threw something; callbacks must return");
  }
}

int64_t in_range(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most)
    throw InputError(std::string(name) + "=" + std::to_string(value) + " is not a whole number from " +
                     std::to_string(least) + " to " + std::to_string(most));
  return value;
}

Bytes picture_of(const spar_picture* picture) {
  const spar_picture& given = required(picture, "picture");
  return checked_picture(given.pixels, given.width, given.height, given.stride);
}

void give(const std::vector<Bytes>& pictures, spar_images& to) {
  size_t size = 0;
  for (const Bytes& one : pictures) size += one.data.size();
  auto* pixels = static_cast<uint8_t*>(std::malloc(std::max<size_t>(size, 1)));
  if (!pixels) throw std::bad_alloc();
  uint8_t* at = pixels;
  for (const Bytes& one : pictures) at = std::copy(one.data.begin(), one.data.end(), at);
  to = {pixels, static_cast<int32_t>(pictures.size()), static_cast<int32_t>(pictures[0].width),
        static_cast<int32_t>(pictures[0].height)};
}

}  // namespace spar::c_api

const char* spar_error(void) { return spar::c_api::words_of_thread(); }
