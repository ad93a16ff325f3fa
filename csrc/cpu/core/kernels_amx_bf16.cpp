#define ENGINE_ISA amx_bf16
#define SPAR_TILES
#include "core/table.h"
