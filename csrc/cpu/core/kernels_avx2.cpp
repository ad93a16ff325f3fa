#define ENGINE_ISA avx2
#include "core/table.h"
