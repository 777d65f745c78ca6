// idefics selftest: hashes of fixed computations, which are the same on every machine and with every
// instruction set.
#include <iomanip>
#include <map>
#include <memory>
#include <sstream>

#include <idefics/image/processor.hpp>
#include <idefics/io/json.hpp>

#include "cli/args.hpp"
#include "cli/selftest_work.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  std::string against;
};

/// The embedded checkpoint's logits for a fixed prompt with one picture.
Tensor logits(const std::string& model, const std::shared_ptr<Backend>& backend,
              ModelOptions options) {
  options.backend = backend;
  const Model loaded = Model::from_pretrained(model, std::move(options));
  const std::int64_t side = loaded.config().vision.image_size, tokens = 9;
  Inputs in{.input_ids = Tensor::empty(DType::i64, {1, tokens}),
            .attention_mask = Tensor::empty(DType::i64, {1, tokens}),
            .pixel_values = selftest::values(DType::f32, {1, 1, 3, side, side}, 19),
            .image_attention_mask = Tensor::empty(DType::i64, {1, tokens, 1})};
  std::ranges::fill(in.attention_mask.as_mutable<std::int64_t>(), 1);
  std::ranges::fill(in.image_attention_mask.as_mutable<std::int64_t>(), 1);
  std::int64_t id = 300;
  for (std::int64_t& value : in.input_ids.as_mutable<std::int64_t>()) value = id += 7;
  return loaded.forward(in).logits;
}

/// A picture resized and normalized as for a published checkpoint.
Tensor pixels() {
  std::vector<std::uint8_t> rgb(3 * 61 * 47);
  for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<std::uint8_t>(i * i % 251);
  const ImageProcessor processor;
  Tensor out = Tensor::empty(DType::f32, {3, 224, 224});
  processor(Image::from_pixels(61, 47, 3, rgb), out.as_mutable<float>(), 224);
  return out;
}

struct Results {
  std::vector<std::string> names, backends;
  std::map<std::string, std::map<std::string, std::uint64_t>> hashes;  // by name, backend

  void add(const std::string& name, const std::string& backend, const Tensor& result) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    if (std::ranges::find(backends, backend) == backends.end()) backends.push_back(backend);
    hashes[name][backend] = selftest::hash_of(result);
  }
};

Results compute() {
  Results results;
  for (const Isa isa : available_isas()) {
    const std::shared_ptr<Backend> backend = make_cpu_backend(isa);
    const std::string name(backend->name());
    for (const auto& computation : selftest::computations())
      results.add(computation.name, name, computation.run(*backend));
    results.add("pixels of a picture", name, pixels());
    const std::string tiny = embedded_model();
    BitsAndBytesConfig nf4{.load_in_4bit = true, .bnb_4bit_quant_type = QuantType::nf4};
    results.add("logits, f32", name, logits(tiny, backend, {}));
    results.add("logits, bf16", name, logits(tiny, backend, {.dtype = DType::bf16}));
    results.add("logits, nf4", name, logits(tiny, backend, {.quantization_config = nf4}));
  }
  return results;
}

/// The hashes that `selftest --json` printed on another machine, or those of every machine.
std::map<std::string, std::string> expected(const std::string& file) {
  std::map<std::string, std::string> hashes;
  if (file.empty()) {
    for (const auto& known : selftest::known_hashes)
      hashes.emplace(known.name, selftest::hex(known.hash));
    return hashes;
  }
  const Json json = read_json_file(file);
  if (!json.is_object() || !json.contains("hashes") || !json["hashes"].is_object())
    throw UsageError(file + " is not what selftest --json prints");
  for (const auto& [name, hash] : json["hashes"].items())
    if (hash.is_string()) hashes.emplace(name, hash.get<std::string>());
  return hashes;
}

void run(const Command& c) {
  set_num_threads(c.common.threads);
  const auto wanted = expected(c.against);
  const Results results = compute();
  std::ostringstream table;
  Json hashes = Json::object(), differences = Json::array();
  std::string first;
  table << std::left << std::setw(36) << "computation" << std::setw(18) << "hash";
  for (const auto& backend : results.backends) table << std::setw(12) << backend;
  for (const auto& name : results.names) {
    const auto known = wanted.find(name);
    const auto& found = results.hashes.at(name);
    const std::string hash = known == wanted.end() ? "unknown" : known->second;
    hashes[name] = selftest::hex(found.begin()->second);
    table << '\n' << std::setw(36) << name << std::setw(18) << hash;
    for (const auto& backend : results.backends) {
      const std::string own = selftest::hex(found.at(backend));
      table << std::setw(12) << (own == hash ? "same" : "DIFFERS");
      if (own == hash) continue;
      differences.push_back(
          {{"computation", name}, {"backend", backend}, {"hash", own}, {"expected", hash}});
      if (first.empty())
        first = name + " on " + backend + " has hash " + own + " instead of " + hash;
    }
  }
  if (c.common.json)
    print(Json{{"same", differences.empty()}, {"hashes", hashes}, {"differences", differences}}
              .dump());
  else
    print(table.str());
  if (!differences.empty())
    throw std::runtime_error(std::to_string(differences.size()) +
                             " results differ; the first: " + first);
  if (!c.common.json)
    print(std::to_string(results.names.size()) + " results are the same as on every machine");
}

}  // namespace

void add_selftest(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* selftest =
      app.add_subcommand("selftest", "print hashes that are the same on every machine");
  selftest
      ->add_option("--against", c->against,
                   "file of selftest --json on another machine to compare with")
      ->type_name("FILE")
      ->group("Comparison");
  c->common.add_to(*selftest, 0);
  selftest->callback([c] { run(*c); });
}

}  // namespace cli
