// A tokenizer.model as data: pieces with scores and types, read by a bounded protobuf reader. Wire
// format: sentencepiece_model.proto of the SentencePiece project.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/text/utf8.hpp>

namespace idefics { inline namespace v0 { namespace detail {

enum class PieceType : std::uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::normal;
};

struct SentencePieceModel {
  std::vector<Piece> pieces;  // the index is the id
  bool byte_fallback = false;
  std::string unk_piece = "<unk>";
  std::vector<std::string> ignored{};  // settings that the reference's fast tokenizers pass over
};

/// Reads protobuf wire format; every length is checked against the bytes left.
class ProtoReader {
 public:
  ProtoReader(std::string_view bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  bool done() const { return bytes_.empty(); }

  struct Field {
    std::uint64_t number = 0, value = 0;  // value: of a varint, or the bits of a fixed-width field
    std::string_view bytes{};             // of a length-delimited field
  };

  Field next() {
    const std::uint64_t key = varint();
    Field field{.number = key >> 3};
    switch (key & 7) {
      case 0: field.value = varint(); break;
      case 1: field.value = fixed(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.value = fixed(4); break;
      default: refuse("a field has an unknown wire type");
    }
    return field;
  }

  [[noreturn]] void refuse(const char* why) const {
    fail(ErrorCode::invalid_tokenizer, std::string("not a supported SentencePiece model: ") + why,
         {.file = file_});
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    refuse("a number is longer than ten bytes");
  }
  std::uint64_t fixed(std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, take(size).data(), size);
    return value;
  }
  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size()) refuse("it ends within a field");
    const std::string_view taken = bytes_.substr(0, static_cast<std::size_t>(size));
    bytes_.remove_prefix(static_cast<std::size_t>(size));
    return taken;
  }

  std::string_view bytes_;
  const std::string& file_;
};

// Field numbers of sentencepiece_model.proto.
namespace proto {
inline constexpr std::uint64_t pieces = 1, trainer = 2, normalizer = 3;
inline constexpr std::uint64_t piece_text = 1, piece_score = 2, piece_type = 3;
inline constexpr std::uint64_t model_type = 3, byte_fallback = 35, unk_piece = 45;
inline constexpr std::uint64_t charsmap = 2, dummy_prefix = 3, extra_whitespaces = 4;
inline constexpr std::uint64_t bpe = 2;  // TrainerSpec.ModelType
}  // namespace proto

inline constexpr std::size_t max_piece_bytes = 4096;

inline Piece read_piece(std::string_view bytes, const std::string& file) {
  ProtoReader reader(bytes, file);
  Piece piece;
  while (!reader.done()) {
    const auto field = reader.next();
    if (field.number == proto::piece_text) piece.text = field.bytes.substr(0, max_piece_bytes + 1);
    if (field.number == proto::piece_score)
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    if (field.number == proto::piece_type) {
      if (field.value < 1 || field.value > 6) reader.refuse("a piece has an unknown type");
      piece.type = static_cast<PieceType>(field.value);
    }
  }
  return piece;
}

/// The byte that a piece like "<0x0A>" denotes, in exactly this form and upper case; else -1.
constexpr int byte_of_piece(std::string_view piece) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const auto high = digits.find(piece[3]), low = digits.find(piece[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return -1;
  return static_cast<int>(high * 16 + low);
}

/// Refuses models that the SentencePiece library refuses. Throws `invalid_tokenizer`.
inline void validate(const SentencePieceModel& model, const std::string& file) {
  auto refuse = [&file](const std::string& why) {
    fail(ErrorCode::invalid_tokenizer, why, {.file = file});
  };
  std::unordered_set<std::string_view> seen;
  int unknown = 0, bytes = 0;
  for (const Piece& piece : model.pieces) {
    if (piece.text.empty()) refuse("a piece is empty");
    if (valid_utf8_prefix(piece.text) != piece.text.size()) refuse("a piece is not UTF-8");
    if (piece.text.size() > max_piece_bytes) refuse("a piece is longer than 4096 bytes");
    if (!seen.insert(piece.text).second)
      refuse("duplicate piece \"" + piece.text.substr(0, 64) + "\"");
    unknown += piece.type == PieceType::unknown;
    bytes += piece.type == PieceType::byte;
    if (piece.type == PieceType::byte && byte_of_piece(piece.text) < 0)
      refuse("the byte piece \"" + piece.text.substr(0, 64) + "\" is not of the form <0xHH>");
    if (!(piece.score > -1e30f && piece.score < 1e30f))
      refuse("a piece has a score that is not finite");
  }
  if (unknown != 1) refuse("expected exactly one unknown piece, found " + std::to_string(unknown));
  if (bytes != (model.byte_fallback ? 256 : 0))
    refuse("byte fallback needs all 256 byte pieces, found " + std::to_string(bytes));
}

/// TrainerSpec: returns the type of the model.
inline std::uint64_t read_trainer(std::string_view bytes, const std::string& file,
                                  SentencePieceModel& model) {
  std::uint64_t type = 1;
  for (ProtoReader spec(bytes, file); !spec.done();) {
    const auto option = spec.next();
    if (option.number == proto::model_type) type = option.value;
    if (option.number == proto::byte_fallback) model.byte_fallback = option.value != 0;
    if (option.number == proto::unk_piece) model.unk_piece = option.bytes;
  }
  return type;
}

/// NormalizerSpec: the reference's fast tokenizers have a normalizer of their own.
inline void read_normalizer(std::string_view bytes, const std::string& file,
                            SentencePieceModel& model) {
  bool dummy_prefix = true, extra_whitespaces = true;  // the format's defaults
  for (ProtoReader spec(bytes, file); !spec.done();) {
    const auto option = spec.next();
    if (option.number == proto::charsmap && !option.bytes.empty())
      model.ignored.emplace_back("precompiled_charsmap");
    if (option.number == proto::dummy_prefix) dummy_prefix = option.value != 0;
    if (option.number == proto::extra_whitespaces) extra_whitespaces = option.value != 0;
  }
  if (!dummy_prefix) model.ignored.emplace_back("add_dummy_prefix");
  if (extra_whitespaces) model.ignored.emplace_back("remove_extra_whitespaces");
}

/// Parses a `tokenizer.model`. Only BPE is supported, as in LLaMA.
inline SentencePieceModel parse_sentencepiece_model(std::string_view bytes,
                                                    const std::string& file) {
  constexpr std::size_t max_pieces = 1 << 20;
  ProtoReader reader(bytes, file);
  SentencePieceModel model;
  std::uint64_t model_type = 1;
  while (!reader.done()) {
    const auto field = reader.next();
    if (field.number == proto::pieces) {
      if (model.pieces.size() == max_pieces) reader.refuse("it has more than 1048576 pieces");
      model.pieces.push_back(read_piece(field.bytes, file));
    }
    if (field.number == proto::trainer) model_type = read_trainer(field.bytes, file, model);
    if (field.number == proto::normalizer) read_normalizer(field.bytes, file, model);
  }
  if (model_type != proto::bpe) reader.refuse("its type is not BPE");
  validate(model, file);
  return model;
}

}}}  // namespace idefics::v0::detail
