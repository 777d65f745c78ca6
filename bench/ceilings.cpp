// The loops of ceilings.inl, compiled for each instruction set as the kernels are.
#include "ceilings.hpp"

#include <algorithm>
#include <vector>

#include <idefics/backend/cpu/isa.hpp>
#include <idefics/backend/cpu/kernel_table.hpp>
#include <idefics/core/stopwatch.hpp>
#include <idefics/core/tensor.hpp>
#include <idefics/core/threads.hpp>

#if defined(__GNUC__)  // for the same reason as in kernels.hpp
#pragma GCC diagnostic ignored "-Wsign-conversion"
#endif

// clang-format off
#define IDEFICS_CPU_UNROLL IDEFICS_CPU_UNROLL_TILE
#define IDEFICS_CPU_BF16_PRODUCTS 0
namespace idefics { inline namespace v0 { namespace bench_scalar {
#include <idefics/backend/cpu/f32x16_scalar.inl>
#include "ceilings.inl"
}}}
#if IDEFICS_CPU_X86
IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c")
namespace idefics { inline namespace v0 { namespace bench_avx2 {
#include <idefics/backend/cpu/f32x16_avx2.inl>
#include "ceilings.inl"
}}}
IDEFICS_CPU_REGION_END
IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
namespace idefics { inline namespace v0 { namespace bench_avx512 {
#include <idefics/backend/cpu/f32x16_avx512.inl>
#include "ceilings.inl"
}}}
IDEFICS_CPU_REGION_END
#undef IDEFICS_CPU_BF16_PRODUCTS
#define IDEFICS_CPU_BF16_PRODUCTS 1
IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
namespace idefics { inline namespace v0 { namespace bench_avx512_bf16 {
#include <idefics/backend/cpu/f32x16_avx512.inl>
#include "ceilings.inl"
}}}
IDEFICS_CPU_REGION_END
#endif
// clang-format on

namespace idefics::bench {
namespace {

using detail::cpu::has;
constexpr std::int64_t steps = 400'000;
volatile float sink;

/// A function of ceilings.inl for the best available instruction set.
#if IDEFICS_CPU_X86
#define BEST(function)                       \
  (has(Isa::avx512) ? bench_avx512::function \
   : has(Isa::avx2) ? bench_avx2::function   \
                    : bench_scalar::function)
#else
#define BEST(function) bench_scalar::function
#endif

int lane_width() { return has(Isa::avx512) || !has(Isa::avx2) ? 16 : 8; }

void on_all_threads(float (*multiply)(std::int64_t)) {
  parallel_tasks(num_threads(), [&](std::int64_t, int) { sink = multiply(steps); });
}

using Read = float (*)(const float*, std::int64_t);

void read_with(Read read, std::span<const std::byte> bytes) {
  constexpr std::int64_t run = 65536;  // floats: 256 KiB at a time
  const auto* p = reinterpret_cast<const float*>(bytes.data());
  const auto count = static_cast<std::int64_t>(bytes.size() / sizeof(float));
  parallel_tasks((count + run - 1) / run, [&](std::int64_t i, int) {
    sink = read(p + i * run, std::min(run, count - i * run));
  });
}

/// The faster way to read on this machine: which one it is depends on the CPU.
Read fastest_read() {
  const Tensor memory = Tensor::zeros(DType::u8, {std::int64_t{256} << 20});
  const Read ways[] = {BEST(read_one_stream), BEST(read_four_streams)};
  std::vector<double> times[2];
  for (int round = 0; round < 7; ++round)
    for (int way = 0; way < 2; ++way) {
      detail::Stopwatch watch;
      read_with(ways[way], {memory.raw(), memory.bytes()});
      times[way].push_back(watch.lap());
    }
  for (auto& t : times) std::ranges::nth_element(t, t.begin() + 3);
  return ways[times[1][3] < times[0][3]];
}

}  // namespace

void read_all(std::span<const std::byte> bytes) {
  static const Read read = fastest_read();
  read_with(read, bytes);
}

void multiply_f32() { on_all_threads(BEST(multiply<false>)); }

double multiply_f32_flops() {
  return 2.0 * 12 * lane_width() * static_cast<double>(steps) * num_threads();
}

void multiply_bf16() {
#if IDEFICS_CPU_X86
  if (detail::cpu::has_fast_bf16_products())
    return on_all_threads(bench_avx512_bf16::multiply<true>);
#endif
  multiply_f32();
}

double multiply_bf16_flops() {
  return multiply_f32_flops() * (detail::cpu::has_fast_bf16_products() ? 2 : 1);
}

}  // namespace idefics::bench
