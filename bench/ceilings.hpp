// The ceilings of this machine on all threads: how fast it reads memory and how fast it multiplies.
#pragma once

#include <cstddef>
#include <span>

namespace idefics::bench {

/// Reads the bytes once; to be timed in turn with the operation that is compared to it.
void read_all(std::span<const std::byte> bytes);

/// f32 fused multiply-adds in registers, and the flops of one call.
void multiply_f32();
double multiply_f32_flops();

/// The same for the bf16 order: `vdpbf16ps` where the CPU has it, else two fused multiply-adds.
void multiply_bf16();
double multiply_bf16_flops();

}  // namespace idefics::bench
