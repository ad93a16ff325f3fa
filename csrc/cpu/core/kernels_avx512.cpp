#define ENGINE_ISA avx512
#include "core/table.h"
