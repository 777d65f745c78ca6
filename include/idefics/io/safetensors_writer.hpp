// Writes a safetensors file tensor by tensor, so that only one of them is in memory. Offsets follow
// from dtypes and shapes, which are declared in advance. Tensors of a length that is known only
// once they are made (JSON texts) come last. The header is written at the end, into reserved space.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <idefics/io/safetensors.hpp>

namespace idefics { inline namespace v0 {

struct TensorForm {
  std::string name;
  DType dtype = DType::f32;
  Shape shape{0};
};

class SafetensorsWriter {
 public:
  /// `forms`: all tensors except the texts. `texts`: names of u8 tensors of up to `text_limit`
  /// bytes each. Throws `io_failure`.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorForm> forms,
                    const std::vector<std::string>& texts, std::int64_t text_limit)
      : path_(path), file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
    if (file_.get() < 0) detail::fail_errno(path_, "cannot create the file");
    // wide dtypes first: every tensor is aligned, without gaps
    std::ranges::sort(forms, [](const TensorForm& a, const TensorForm& b) {
      const auto x = size_of(a.dtype), y = size_of(b.dtype);
      return x != y ? x > y : a.name < b.name;
    });
    for (const TensorForm& form : forms) add(form);
    texts_begin_ = end_;
    for (const std::string& name : texts) add({name, DType::u8, {text_limit}});
    header_bytes_ = (header().size() + 7) / 8 * 8;
    end_ = texts_begin_;
    places_.resize(forms.size());
  }

  /// Writes a declared tensor, or the next text.
  void put(const NamedTensor& item) {
    const auto known = index_.find(item.name);
    require(known != index_.end(), "the tensor was not declared");
    if (known->second >= places_.size()) {
      index_[item.name] = places_.size();
      add({item.name, DType::u8, item.tensor.shape()});
    }
    const Place& place = places_[index_[item.name]];
    require(place.form.dtype == item.tensor.dtype() && place.form.shape == item.tensor.shape(),
            "the tensor differs from its declared dtype or shape");
    write(8 + header_bytes_ + place.begin, item.tensor.raw(), item.tensor.bytes());
  }

  /// Writes the header. Throws `io_failure`.
  void finish() {
    std::string text = header();
    text.append(header_bytes_ - text.size(), ' ');
    const std::uint64_t length = text.size();
    write(0, reinterpret_cast<const std::byte*>(&length), sizeof length);
    write(8, reinterpret_cast<const std::byte*>(text.data()), text.size());
    if (!file_.close()) detail::fail_errno(path_, "cannot write the file");
  }

 private:
  struct Place {
    TensorForm form;
    std::uint64_t begin;
  };

  void add(const TensorForm& form) {
    index_[form.name] = places_.size();
    places_.push_back({form, end_});
    end_ += static_cast<std::uint64_t>(form.shape.count()) * size_of(form.dtype);
  }
  std::string header() const {
    std::string text = R"({"__metadata__":{"format":"pt"})";
    for (const Place& place : places_) {
      const Tensor form = Tensor::view_of(place.form.dtype, place.form.shape, nullptr);
      text += ',' + detail::header_entry({place.form.name, form}, place.begin);
    }
    return text + '}';
  }
  void write(std::uint64_t at, const std::byte* bytes, std::size_t count) {
    while (count > 0) {
      const auto written = ::pwrite(file_.get(), bytes, count, static_cast<off_t>(at));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) detail::fail_errno(path_, "cannot write the file");
      bytes += written, at += static_cast<std::uint64_t>(written);
      count -= static_cast<std::size_t>(written);
    }
  }

  std::filesystem::path path_;
  detail::Descriptor file_;
  std::vector<Place> places_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::uint64_t texts_begin_ = 0, end_ = 0, header_bytes_ = 0;
};

}}  // namespace idefics::v0
