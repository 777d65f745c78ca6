// Files of torch.save with one fault each, built by tests/fuzz/torch_corpus.py: each is refused by
// name, and nothing in it is run.
#include <idefics/io/torch_file.hpp>

#include "support/fault.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using enum ErrorCode;

namespace {

const std::filesystem::path corpus =
    std::filesystem::path(IDEFICS_SOURCE_DIR) / "tests/fuzz/corpus/torch_file";

/// The error that a file of the corpus must give; `field` is the end of its field.
struct Row {
  ErrorCode code;
  const char *name, *tensor = "", *field = "";
  bool limit = false;
};

void check_rows(std::initializer_list<Row> rows) {
  for (const Row& row : rows)
    testing::check({row.name, row.code, [&] { detail::open_torch_file(corpus / row.name); },
                    row.name, row.tensor, row.field, row.limit});
}

}  // namespace

TEST_CASE("a pickle that uses more than weights need is refused and not run") {
  for (const char* name : {"os_system", "eval", "stack_global", "instance", "new_object",
                           "extension", "list", "storage_called", "name_of_control"})
    check_rows({{pickle_refused, name, "", "x/data.pkl"}});
}

TEST_CASE("pickles that contradict themselves are refused") {
  for (const char* name :
       {"empty",       "no_stop",       "stop_alone", "two_left",    "behind_stop",
        "mark_left",   "below_mark",    "no_mark",    "odd_items",   "set_in_tuple",
        "forgotten",   "put_nothing",   "cut_name",   "cut_text",    "long_integer",
        "called_text", "dict_of_items", "id_of_text", "built_tuple", "parameter_of_none",
        "many_tuples"})
    check_rows({{invalid_torch_file, name, "", "x/data.pkl"}});
  for (const char* name : {"tuple_root", "tensor_root", "key_of_int", "key_of_control"})
    check_rows({{invalid_torch_file, name}});
  check_rows({{invalid_torch_file, "dict_in_itself", "a"},
              {invalid_torch_file, "value_of_int", "a"},
              {duplicate_key, "name_twice", "t"}});
}

TEST_CASE("tensors that their storage cannot hold are refused") {
  check_rows({{invalid_torch_file, "beyond_storage", "t", "size", true},
              {invalid_torch_file, "offset_beyond", "t", "size", true},
              {invalid_torch_file, "offset_negative", "t", "storage_offset", true},
              {invalid_torch_file, "stride_beyond", "t", "size", true},
              {invalid_torch_file, "stride_huge", "t", "stride", true},
              {invalid_torch_file, "stride_zero", "t", "size", true},
              {invalid_torch_file, "size_wraps", "t", "size", true},
              {invalid_torch_file, "size_above_48_bits", "t", "size", true},
              {invalid_torch_file, "size_of_none", "t", "size"},
              {invalid_torch_file, "one_stride_missing", "t", "stride", true},
              {invalid_torch_file, "many_dimensions", "t", "size", true},
              {invalid_torch_file, "few_arguments", "t"},
              {invalid_torch_file, "storage_of_function", "t"},
              {invalid_torch_file, "storage_untyped", "t"},
              {invalid_torch_file, "storage_absent", "t", "data/7"},
              {invalid_torch_file, "storage_outside", "t", "data/../data.pkl"},
              {invalid_torch_file, "storage_short", "t", "x/data/0", true}});
}

TEST_CASE("archives that contradict themselves or have another form are refused") {
  check_rows({{unsupported_torch_file, "compressed", "", "x/data.pkl"},
              {unsupported_torch_file, "encrypted", "", "x/data.pkl"},
              {unsupported_torch_file, "big_endian", "", "x/byteorder"},
              {unsupported_torch_file, "legacy"},
              {git_lfs_pointer, "git_lfs"},
              {invalid_torch_file, "other_kind"},
              {invalid_torch_file, "end_alone", "", "data.pkl"},
              {invalid_torch_file, "no_pickle", "", "data.pkl"},
              {invalid_torch_file, "pickle_below", "", "data.pkl"},
              {invalid_torch_file, "two_pickles", "", "y/data.pkl"},
              {duplicate_key, "same_name_twice", "", "x/data/0"},
              {invalid_torch_file, "overlap", "", "x/data.pkl", true},
              {invalid_torch_file, "other_local_name", "", "x/data.pkl"},
              {invalid_torch_file, "two_sizes", "", "x/data.pkl"},
              {invalid_torch_file, "control_in_name"},
              {invalid_torch_file, "shifted"},
              {invalid_torch_file, "entry_missing"},
              {invalid_torch_file, "entry_too_few"},
              {truncated_file, "no_locator"}});
}

TEST_CASE("a pickle that pushes objects without end is stopped") {
  const auto refusal = [](const std::string& pickle) {
    try {
      detail::parse_pickle(pickle, {}, 0);
    } catch (const Error& error) {
      return std::string(error.what()).find("more than 1048576") != std::string::npos;
    }
    return false;
  };
  for (const char* endless : {")", "(", "N", "}"}) {
    std::string pickle;
    for (std::size_t i = 0; i < (2u << 20); ++i) pickle += endless;
    CHECK(refusal(pickle));
  }
}

TEST_CASE("a number that no tensor needs is passed over") {
  const std::string real("\x80\x02G\0\0\0\0\0\0\0\0.", 12);
  CHECK(detail::parse_pickle(real, {}, 0).root.kind == detail::PickleValue::Kind::real);
}

TEST_CASE("every valid file of the corpus is read") {
  const auto values = [](const char* name, const char* tensor) {
    const TensorFile file = detail::open_torch_file(corpus / name);
    const Tensor t = file.tensor(tensor);
    std::vector<float> list;
    for (std::int64_t i = 0; i < t.count(); ++i) list.push_back(detail::element_as_f32(t, i));
    return list;
  };
  const std::vector<float> all{0, 1, 2, 3, 4, 5};
  for (const char* name : {"good", "wide", "comment"}) {
    CHECK(values(name, "dense") == all);
    CHECK(values(name, "transposed") == std::vector<float>{0, 3, 1, 4, 2, 5});
    CHECK(values(name, "row") == std::vector<float>{3, 4, 5});
    CHECK(values(name, "none").empty());
    CHECK(values(name, "scalar") == std::vector<float>{5});
    CHECK(values(name, "unit") == all);
  }
  for (const char* name : {"parameter", "older_call"}) CHECK(values(name, "t") == all);
  CHECK(values("remembered", "b") == all);
  CHECK(detail::open_torch_file(corpus / "bfloat16").tensor("t").dtype() == DType::bf16);
  CHECK(detail::open_torch_file(corpus / "bytes").bytes("t").count() == 24);
}
