// The AMX kernels over tiles in memory: never chosen, only asked for by name, so that any machine can test them.
#define ENGINE_ISA emulated
#define SPAR_TILES
#define SPAR_EMULATED_TILES
#include "core/table.h"
