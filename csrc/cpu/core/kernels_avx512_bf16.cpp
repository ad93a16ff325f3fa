#define ENGINE_ISA avx512_bf16
#include "core/table.h"
