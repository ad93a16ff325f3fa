#define ENGINE_ISA avx512
#include "relu_linear_attention/vector.h"

void spar::relu_linear_attention_avx512(const ReluLinearAttention& args) { spar::cpu::avx512::attend(args); }
