#define ENGINE_ISA avx512
#include "dynamic_token_routing/vector.h"

void spar::dynamic_token_routing_avx512(const DynamicTokenRouting& args) { spar::cpu::avx512::route(args); }
