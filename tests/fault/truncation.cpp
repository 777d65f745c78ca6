// Every prefix of a file is refused with a typed error or, where only a trailer is missing, read
// like the whole file. With any one bit of a small file flipped there is no other error, and no
// crash.
#include <fstream>

#include <idefics/image/decode.hpp>
#include <idefics/io/safetensors.hpp>
#include <idefics/io/torch_file.hpp>
#include <idefics/text/tokenizer/sentencepiece_model.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

const std::filesystem::path corpus =
    std::filesystem::path(IDEFICS_SOURCE_DIR) / "tests/fuzz/corpus";

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// "accepted", or "refused" for a typed error that input can cause.
template <class Read>
std::string verdict(const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    return error.code() == ErrorCode::invalid_argument ? error.what() : "refused";
  }
  return "accepted";
}

}  // namespace

TEST_CASE("prefixes of a safetensors file are refused, and flipped bits do no harm") {
  const std::string whole = detail::read_file(corpus / "safetensors/two_tensors", 1 << 16);
  const auto read = [](const std::string& file) {
    return verdict([&] { detail::parse_safetensors_header(bytes_of(file), "f"); });
  };
  REQUIRE(read(whole) == "accepted");
  for (std::size_t n = 0; n < whole.size(); ++n) CHECK(read(whole.substr(0, n)) == "refused");
  std::size_t accepted = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string other = whole;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << (bit % 8)));
    const std::string found = read(other);
    CHECK((found == "accepted" || found == "refused"));
    accepted += found == "accepted";
  }
  CHECK(accepted < whole.size() * 3);  // in names, dtypes of the same width, and the data
}

TEST_CASE("prefixes of a torch file are refused, and flipped bits do no harm") {
  for (const char* name : {"good", "wide"}) {
    const std::string whole = detail::read_file(corpus / "torch_file" / name, 1 << 16);
    const auto read = [](const std::string& file) {
      return verdict([&] { detail::parse_torch_file(bytes_of(file), "f"); });
    };
    REQUIRE(read(whole) == "accepted");
    for (std::size_t n = 0; n < whole.size(); ++n) CHECK(read(whole.substr(0, n)) == "refused");
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
      std::string other = whole;
      other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << (bit % 8)));
      const std::string found = read(other);
      CHECK((found == "accepted" || found == "refused"));
    }
  }
}

TEST_CASE("prefixes of tokenizer.model are refused, but for one that ends with a field") {
  const std::string whole = detail::read_file(corpus / "sentencepiece_model/small", 1 << 16);
  const auto pieces = detail::parse_sentencepiece_model(whole, "f").pieces.size();
  std::size_t accepted = 0;
  for (std::size_t n = 0; n < whole.size(); ++n)
    accepted += verdict([&] {
                  const auto model = detail::parse_sentencepiece_model(whole.substr(0, n), "f");
                  CHECK(model.pieces.size() == pieces);
                }) == "accepted";
  CHECK(accepted <= 1);  // a message may end after any field: the normalizer is optional
}

TEST_CASE("prefixes of pictures never decode to another picture") {
  for (const char* name :
       {"png_rgb", "png_p", "png_trns", "jpeg_0", "jpeg_2", "jpeg_progressive", "jpeg_grey", "gif",
        "bmp_rgb", "bmp_p", "webp", "webp_lossless", "pnm_form_P6_7", "ico_form_i4_16x"}) {
    INFO(name);
    const std::string whole = detail::read_file(corpus / "image" / name, 1 << 16);
    const Image picture = Image::decode(bytes_of(whole));
    for (std::size_t n = 0; n < whole.size(); ++n) {
      INFO(n << " of " << whole.size());
      const std::string found = verdict([&] {
        const Image prefix = Image::decode(bytes_of(whole).first(n));
        CHECK((prefix.rgb == picture.rgb));
      });
      CHECK((found == "refused" || n + 32 > whole.size()));
    }
  }
}
