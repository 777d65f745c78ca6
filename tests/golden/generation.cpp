// Every logits processor, warper and stop string against transformers: greedy answers step by step,
// processed scores, and the distributions that sampling draws from.
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include <idefics/generation/logits/warpers.hpp>
#include <idefics/generation/options/read_config.hpp>
#include <idefics/generation/run/stopping.hpp>
#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer.hpp>

#include "support/catch.hpp"
#include "support/golden_inputs.hpp"
#include "support/golden_models.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;
constexpr double sure = 1e-4;  // margins below this are ties of the reference

const std::filesystem::path folder = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "generation";

/// The options of a case, in which keys that begin with `test_` become callables.
GenerationConfig options_of(const Json& one, std::int64_t vocabulary) {
  Json plain = one.at("options");
  std::erase_if(plain.get_ref<Json::object_t&>(),
                [](const auto& entry) { return entry.first.starts_with("test_"); });
  GenerationConfig config = generation_config_from_json(plain, "case");
  config.output_scores = true;
  if (one.at("options").contains("test_slope"))
    config.logits_processor.push_back([](std::span<float> scores, auto) {
      for (std::size_t i = 0; i < scores.size(); ++i) scores[i] += static_cast<float>(i) * 0.0625f;
    });
  if (const auto k = one.at("options").value("test_allowed_modulo", std::int64_t{0}))
    config.prefix_allowed_tokens_fn = [k, vocabulary](std::int64_t row, auto so_far) {
      Ids allowed;
      for (std::int32_t id = 0; id < vocabulary; ++id)
        if ((id + row + std::ssize(so_far)) % k == 0) allowed.push_back(id);
      return allowed;
    };
  return config;
}

struct Recorded {
  std::vector<Json> cases;
  SafetensorsFile scores;
  std::map<std::string, Tensor> pools;
};

const Recorded& recorded() {
  static const Recorded all = [] {
    Recorded r{
        .cases = {}, .scores = SafetensorsFile::open(folder / "scores.safetensors"), .pools = {}};
    const Json file = read_json_file(folder / "cases.json");
    for (const Json& one : file.at("cases")) r.cases.push_back(one);
    for (const Json& one : r.cases) {
      const auto name = one.at("model").get<std::string>();
      const auto pool = golden::models_dir() / name / "greedy_pool.safetensors";
      if (!r.pools.contains(name)) r.pools[name] = SafetensorsFile::open(pool).tensor("pool");
    }
    return r;
  }();
  return all;
}

/// A function of its own, since GCC 12 fails on these options within a template.
Model load_f32(const std::string& name) { return golden::load(name, {.dtype = DType::f32}); }

/// Calls f(number, case, output) for the cases that sample tokens, or for those that do not.
template <class F>
std::size_t for_each_case(bool sampling, const F& f) {
  std::map<std::string, Model> models;
  std::size_t count = 0;
  for (std::size_t i = 0; i < recorded().cases.size(); ++i) {
    const Json& one = recorded().cases[i];
    if (one.at("options").contains("do_sample") != sampling) continue;
    const auto name = one.at("model").get<std::string>();
    if (!models.contains(name)) models.emplace(name, load_f32(name));
    Model& model = models.at(name);
    INFO("case " << i << " " << name << " " << one.at("options").dump());
    f(i, one,
      model.generate(golden::inputs_of(one, recorded().pools.at(name)),
                     options_of(one, model.config().total_vocab_size())));
    ++count;
  }
  return count;
}

/// The steps of a row that can be compared: those before the reference's first tie.
std::size_t comparable(const Json& one, std::size_t row) {
  std::size_t step = 0;
  const auto length = one.at("lengths")[row].get<std::size_t>();
  while (step < length && one.at("margins")[step][row].get<double>() >= sure) ++step;
  return step;
}

/// The largest relative difference of two rows of scores; infinite where only one forbids an id.
double difference(std::span<const float> a, std::span<const float> b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    if (std::isinf(a[i]) || std::isinf(b[i])) return std::numeric_limits<double>::infinity();
    const double scale = std::max(1.0, std::abs(static_cast<double>(a[i])));
    worst =
        std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) / scale);
  }
  return worst;
}

std::span<const float> row_of(const Tensor& scores, std::int64_t step, std::size_t row) {
  const auto v = static_cast<std::size_t>(scores.dim(2));
  const auto index = static_cast<std::size_t>(step * scores.dim(1)) + row;
  return scores.as<float>().subspan(index * v, v);
}

}  // namespace

TEST_CASE("greedy answers and processed scores equal transformers' with every processor") {
  std::size_t ties = 0;
  const auto count =
      for_each_case(false, [&](std::size_t i, const Json& one, const GenerationOutput& out) {
        // [2,R,V+A], the first and the last step
        const Tensor expected = recorded().scores.tensor(std::to_string(i));
        const auto steps = std::ssize(one.at("margins"));
        for (std::size_t row = 0; row < out.sequences.size(); ++row) {
          const std::size_t sure_steps = comparable(one, row);
          const auto length = one.at("lengths")[row].get<std::size_t>();
          const auto wanted = one.at("new_tokens")[row].get<Ids>();
          CHECK(difference(row_of(expected, 0, row), row_of(out.scores, 0, row)) <= 1e-4);
          CHECK(std::equal(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(sure_steps),
                           out.new_tokens[row].begin()));
          if (sure_steps < length) {
            ++ties;
            continue;
          }
          CHECK(out.lengths[row] == static_cast<std::int64_t>(length));
          if (out.lengths[row] == steps)
            CHECK(difference(row_of(expected, 1, row), row_of(out.scores, steps - 1, row)) <= 1e-4);
        }
      });
  std::printf("%zu cases compared, %zu rows up to a tie\n", count, ties);
  CHECK(count >= 300);
}

TEST_CASE("distributions of sampling equal transformers'") {
  const auto count =
      for_each_case(true, [](std::size_t i, const Json&, const GenerationOutput& out) {
        const Tensor expected = recorded().scores.tensor(std::to_string(i));
        std::vector<double> p(static_cast<std::size_t>(expected.dim(2))), q(p.size());
        for (std::size_t row = 0; row < out.sequences.size(); ++row) {
          detail::softmax(row_of(expected, 0, row), p);
          detail::softmax(row_of(out.scores, 0, row), q);
          double worst = 0;
          for (std::size_t id = 0; id < p.size(); ++id)
            worst = std::max(worst, std::abs(p[id] - q[id]));
          CHECK(worst <= 1e-5);
        }
      });
  std::printf("%zu distributions compared\n", count);
  CHECK(count >= 100);
}

TEST_CASE("stop strings stop where transformers' do, across tokens and within them") {
  const auto texts =
      Tokenizer::from_pretrained(std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples" / "tiny")
          .token_texts();
  const Json file = read_json_file(folder / "stop_strings.json");
  std::size_t stopped = 0;
  for (const Json& one : file.at("cases")) {
    INFO(one.dump());
    detail::StopStrings stop(one.at("strings").get<std::vector<std::string>>(), texts);
    const bool found = stop(one.at("ids").get<Ids>());
    CHECK(found == one.at("stops").get<bool>());
    stopped += found ? 1 : 0;
  }
  CHECK(stopped > 50);
}
