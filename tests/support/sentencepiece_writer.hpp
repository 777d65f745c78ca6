// Writes a tokenizer.model, for tests.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include <idefics/text/tokenizer/sentencepiece_model.hpp>

namespace testing {

/// Protobuf's wire format.
class ProtoWriter {
 public:
  void number(std::uint64_t field, std::uint64_t value) {
    varint(field << 3);
    varint(value);
  }
  void real(std::uint64_t field, float value) {
    varint(field << 3 | 5);
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (unsigned shift = 0; shift < 32; shift += 8)
      bytes_.push_back(static_cast<char>(bits >> shift));
  }
  void text(std::uint64_t field, std::string_view value) {
    varint(field << 3 | 2);
    varint(value.size());
    bytes_.append(value);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

inline std::string serialize(const idefics::detail::SentencePieceModel& model) {
  namespace proto = idefics::detail::proto;
  ProtoWriter file, trainer, normalizer;
  for (const idefics::detail::Piece& piece : model.pieces) {
    ProtoWriter entry;
    entry.text(proto::piece_text, piece.text);
    entry.real(proto::piece_score, piece.score);
    entry.number(proto::piece_type, static_cast<std::uint64_t>(piece.type));
    file.text(proto::pieces, entry.bytes());
  }
  trainer.number(proto::model_type, proto::bpe);
  trainer.number(proto::byte_fallback, model.byte_fallback);
  trainer.text(proto::unk_piece, model.unk_piece);
  file.text(proto::trainer, trainer.bytes());
  normalizer.number(proto::extra_whitespaces, 0);
  file.text(proto::normalizer, normalizer.bytes());
  return file.bytes();
}

}  // namespace testing
