// The ceilings of this machine, on all threads: how fast memory can be read, how fast numbers can
// be multiplied.
#pragma once

#include <cstddef>
#include <span>

namespace idefics::bench {

/// Reads the bytes once; call it in turn with what it is compared to.
void read_all(std::span<const std::byte> bytes);

/// f32 fused multiply-adds without memory, and how many flops one call does.
void multiply_f32();
double multiply_f32_flops();

/// The same for the bf16 order: `vdpbf16ps` where the CPU has it, two fused multiply-adds
/// elsewhere.
void multiply_bf16();
double multiply_bf16_flops();

}  // namespace idefics::bench
