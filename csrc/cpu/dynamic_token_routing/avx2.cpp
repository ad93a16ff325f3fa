#define ENGINE_ISA avx2
#include "dynamic_token_routing/vector.h"

void spar::dynamic_token_routing_avx2(const DynamicTokenRouting& args) { spar::cpu::avx2::route(args); }
