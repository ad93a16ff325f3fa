#define ENGINE_ISA scalar
#include "core/table.h"
