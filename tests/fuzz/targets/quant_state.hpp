// A safetensors file with the 4-bit tensor `t` or the int8 matrix `t.weight`: an accepted one must
// be complete and consistent.
#pragma once

#include <idefics/quant/bnb_format.hpp>
#include <idefics/quant/int8_format.hpp>

#include "fuzz/scratch_dir.hpp"
#include "fuzz/target.hpp"

namespace fuzz {

inline void quant_state(Bytes input) {
  static const ScratchDir directory;
  directory.set("config.json", "{}");
  directory.set("model.safetensors", text_of(input));
  const auto checkpoint = idefics::Checkpoint::open(directory.path());
  if (checkpoint.find("t.weight") != nullptr && idefics::detail::is_int8(checkpoint, "t.weight")) {
    const auto w = idefics::detail::read_int8(checkpoint, "t.weight");
    expect(w.codes.dtype() == idefics::DType::i8 && w.codes.shape().rank() == 2, "codes of rows");
    expect(w.absmax.count() == w.codes.dim(0), "constants are missing");
  }
  if (checkpoint.find("t") == nullptr) return;
  const auto q = idefics::detail::read_bnb(checkpoint, "t");
  expect(q.count() > 0 && q.codes.count() == (q.count() + 1) / 2, "codes and shape disagree");
  expect(idefics::detail::is_blocksize(q.blocksize), "an unsupported block size");
  expect(q.absmax.count() == (q.count() + q.blocksize - 1) / q.blocksize, "blocks are missing");
  if (q.double_quant()) {
    expect(q.absmax.dtype() == idefics::DType::u8 && q.nested.map.count() == 256,
           "nested constants are not 8-bit");
    expect(q.nested.absmax.count() == (q.absmax.count() + 255) / 256, "nested blocks are missing");
  }
  float first = 0, last = 0;
  q.expand_absmax(0, {&first, 1});
  q.expand_absmax(q.blocks() - 1, {&last, 1});
}

}  // namespace fuzz
