// All kernels of one instruction set, in reading order. Included once per instruction set, in its
// namespace and region, after its F32x16.
// clang-format off
#include <idefics/backend/cpu/load.inl>
#include <idefics/backend/cpu/linear_panels.inl>
#include <idefics/backend/cpu/math.inl>
#include <idefics/backend/cpu/linear.inl>
#include <idefics/backend/cpu/linear_bf16.inl>
#include <idefics/backend/cpu/linear_blocks.inl>
#include <idefics/backend/cpu/linear_4bit.inl>
#include <idefics/backend/cpu/linear_4bit_pairs.inl>
#include <idefics/backend/cpu/linear_4bit_tiles.inl>
#include <idefics/backend/cpu/linear_int8.inl>
#include <idefics/backend/cpu/attention.inl>
#include <idefics/backend/cpu/softmax.inl>
#include <idefics/backend/cpu/matmul.inl>
#include <idefics/backend/cpu/norm.inl>
#include <idefics/backend/cpu/rope.inl>
#include <idefics/backend/cpu/embedding.inl>
#include <idefics/backend/cpu/convert.inl>
#include <idefics/backend/cpu/quantize.inl>
#include <idefics/backend/cpu/activation.inl>
#include <idefics/backend/cpu/elementwise.inl>
#include <idefics/backend/cpu/patch.inl>
#include <idefics/backend/cpu/transpose.inl>
// clang-format on

inline constexpr KernelTable table = {
    .linear_f32 = linear_f32_kernels,
    .linear_bf16 = linear_bf16_kernels<Layout::widened>(),
    .four_bit = {expand_absmax, dequantize, pack_lookup_rows, multiply_f32},
    .four_bit_pairs = four_bit_pair_kernels<Layout::widened>(),
    .int8 = {quantize_row, multiply_int8},
    .attention = attention,
    .attention_weights = attention_weights,
    .softmax = softmax,
    .argmax = argmax,
    .matmul = matmul,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .rope = rope,
    .convert = convert,
    .narrow = narrow,
    .quantize = quantize,
    .unfold_patch = unfold_patch,
    .transpose = transpose,
    .gated_activation = gated_activation,
    .add = add,
    .multiply = multiply,
    .scale = scale,
    .tanh = tanh_of,
    .scaled_add = scaled_add,
    .scaled_add_one = scaled_add_one,
    .elementary = elementary,
};
