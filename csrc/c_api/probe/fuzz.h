// Everything in the C library that reads bytes from outside, as libFuzzer wants it. The first byte chooses the parser,
// the others are its input. What parsers are documented to throw ends inside; anything else passes and is a finding.
//
//     clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc -Icsrc/include -Icsrc/cpu
//     csrc/c_api/probe/fuzz.cpp \
//         csrc/c_api/{bpe,fields,json,mapped,safetensors,split,tokenizer,unicode,utf8}.cpp -o fuzz && ./fuzz CORPUS
//
// Without clang, csrc/tests/c_api.cpp gives it mutated files under the sanitizers.
#pragma once

#include <cstddef>

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size);
