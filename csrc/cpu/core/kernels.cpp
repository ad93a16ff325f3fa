#include "core/kernels.h"

#include <string>
#include <vector>

#include "engine/error.h"

namespace spar::cpu {

namespace scalar {
extern const Kernels table;
}
namespace emulated {
extern const Kernels table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
namespace avx512_bf16 {
extern const Kernels table;
}
namespace amx_bf16 {
extern const Kernels table;
}
#endif

std::span<const Kernels* const> kernel_tables() {
  static const std::vector<const Kernels*> tables = [] {
    std::vector<const Kernels*> usable;
#if defined(__x86_64__)
    for (const Kernels* table : {&amx_bf16::table, &avx512_bf16::table, &avx512::table, &avx2::table})
      if (available(table->isa)) usable.push_back(table);
#endif
    usable.push_back(&scalar::table);
    return usable;
  }();
  return tables;
}

const Kernels& kernels(std::string_view isa) {
  if (isa.empty()) return *kernel_tables().front();
  if (isa == "emulated_amx") return emulated::table;
  std::string names;
  for (const Kernels* table : kernel_tables()) {
    if (name(table->isa) == isa) return *table;
    names += (names.empty() ? "" : ", ") + std::string(name(table->isa));
  }
  throw BackendError("isa='" + std::string(isa) + "' is not among those of this machine: " + names);
}

}  // namespace spar::cpu
