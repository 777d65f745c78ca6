// A SentencePiece model as data: pieces with scores and types. It is read from `tokenizer.model` by
// our own bounded protobuf reader, or built from `tokenizer.json`. The SentencePiece library is
// given only what we serialize ourselves: no byte of an untrusted file reaches it. Wire format:
// sentencepiece_model.proto of the SentencePiece project.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <idefics/core/checked.hpp>

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
  bool add_dummy_prefix = true;
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

/// Appends protobuf wire format.
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

// Field numbers of sentencepiece_model.proto.
namespace proto {
inline constexpr std::uint64_t pieces = 1, trainer = 2, normalizer = 3;
inline constexpr std::uint64_t piece_text = 1, piece_score = 2, piece_type = 3;
inline constexpr std::uint64_t model_type = 3, byte_fallback = 35, unk_id = 40, bos_id = 41,
                               eos_id = 42, pad_id = 43;
inline constexpr std::uint64_t normalizer_name = 1, charsmap = 2, dummy_prefix = 3,
                               extra_whitespaces = 4;
inline constexpr std::uint64_t bpe = 2;  // TrainerSpec.ModelType
}  // namespace proto

/// The library recurses over a piece: a very long one would overflow the stack.
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

/// Refuses models that the library is known to fail on. Throws `invalid_tokenizer`.
inline void validate(const SentencePieceModel& model, const std::string& file) {
  auto refuse = [&file](const std::string& why) {
    fail(ErrorCode::invalid_tokenizer, why, {.file = file});
  };
  std::unordered_set<std::string_view> seen;
  int unknown = 0, bytes = 0;
  for (const Piece& piece : model.pieces) {
    if (piece.text.empty() || piece.text.find('\0') != std::string::npos)
      refuse("a piece is empty or contains a zero byte");
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

/// Parses a `tokenizer.model`. Only BPE without a character map is supported, as in LLaMA.
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
    } else if (field.number == proto::trainer) {
      for (ProtoReader spec(field.bytes, file); !spec.done();) {
        const auto option = spec.next();
        if (option.number == proto::model_type) model_type = option.value;
        if (option.number == proto::byte_fallback) model.byte_fallback = option.value != 0;
      }
    } else if (field.number == proto::normalizer) {
      for (ProtoReader spec(field.bytes, file); !spec.done();) {
        const auto option = spec.next();
        if (option.number == proto::charsmap && !option.bytes.empty())
          reader.refuse("it rewrites characters");
        if (option.number == proto::dummy_prefix) model.add_dummy_prefix = option.value != 0;
        if (option.number == proto::extra_whitespaces && option.value != 0)
          reader.refuse("it removes extra whitespace");
      }
    }
  }
  if (model_type != proto::bpe) reader.refuse("its type is not BPE");
  validate(model, file);
  return model;
}

/// Serializes the model in the library's own format.
inline std::string serialize(const SentencePieceModel& model) {
  ProtoWriter proto;
  std::uint64_t unknown = 0;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const Piece& piece = model.pieces[id];
    if (piece.type == PieceType::unknown) unknown = id;
    ProtoWriter entry;
    entry.text(proto::piece_text, piece.text);
    entry.real(proto::piece_score, piece.score);
    entry.number(proto::piece_type, static_cast<std::uint64_t>(piece.type));
    proto.text(proto::pieces, entry.bytes());
  }
  const auto none = static_cast<std::uint64_t>(std::int64_t{-1});
  ProtoWriter trainer;
  trainer.number(proto::model_type, proto::bpe);
  trainer.number(proto::byte_fallback, model.byte_fallback);
  trainer.number(proto::unk_id, unknown);
  for (const auto id : {proto::bos_id, proto::eos_id, proto::pad_id}) trainer.number(id, none);
  proto.text(proto::trainer, trainer.bytes());
  ProtoWriter normalizer;
  normalizer.text(proto::normalizer_name, "identity");
  normalizer.number(proto::dummy_prefix, model.add_dummy_prefix);
  normalizer.number(proto::extra_whitespaces, 0);
  proto.text(proto::normalizer, normalizer.bytes());
  return proto.bytes();
}

}}}  // namespace idefics::v0::detail
