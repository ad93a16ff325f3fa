#define ENGINE_ISA avx2
#include "relu_linear_attention/vector.h"

void spar::relu_linear_attention_avx2(const ReluLinearAttention& args) { spar::cpu::avx2::attend(args); }
