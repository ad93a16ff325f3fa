// One pool of worker threads for each thread count that an op was asked for.
#pragma once

#include <cstdint>

#include "core/pool.h"
#include "engine/dims.h"

namespace spar::bindings {

// Lives as long as the process. InputError unless `threads` is from 1 to 1024.
cpu::Pool& shared_pool(const Dims& dims, int64_t threads);

}  // namespace spar::bindings
