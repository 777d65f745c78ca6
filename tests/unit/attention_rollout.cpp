// Attention rollout: a model made by hand, of which every query attends to a single key, so that all
// shares are known; the words of an answer.
#include <idefics/attention_rollout.hpp>
#include <idefics/io/safetensors_writer.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

constexpr std::int64_t width = 16;  // of everything
constexpr float sharp = 100;        // makes softmax give exactly 0 and 1

/// config.json of a model with a picture of 2 x 2 patches, two layers of each kind and two latents.
constexpr const char* config_json = R"({
  "model_type": "idefics", "vocab_size": 16, "additional_vocab_size": 0, "hidden_size": 16,
  "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 1,
  "cross_layer_interval": 1, "qk_layer_norms": false, "use_resampler": true,
  "vision_config": {"embed_dim": 16, "image_size": 8, "patch_size": 4, "intermediate_size": 16,
                    "num_hidden_layers": 2, "num_attention_heads": 1, "num_channels": 3},
  "perceiver_config": {"resampler_n_latents": 2, "resampler_depth": 2, "resampler_n_heads": 1,
                       "resampler_head_dim": 16, "qk_layer_norms_perceiver": false}})";

/// Entries (row, column) of a weight.
using Entries = std::vector<std::pair<std::int64_t, std::int64_t>>;

/// Position j of a picture is the unit vector j, latent l the unit vector 8 + l, token t the unit
/// vector t. Nothing is ever added to them. A query matrix with the entry (j, i) makes i attend to j.
std::map<std::string, Entries> queries() {
  const std::string tower = "model.vision_model.encoder.layers.",
                    block = "model.perceiver_resampler.blocks.",
                    cross = "model.gated_cross_attn_layers.";
  return {
      // each position attends to the next one; position 2 to 3, and the others to themselves
      {tower + "0.self_attn.q_proj.weight", {{1, 0}, {2, 1}, {3, 2}, {4, 3}, {0, 4}}},
      {tower + "1.self_attn.q_proj.weight", {{0, 0}, {1, 1}, {3, 2}, {3, 3}, {4, 4}}},
      // latent 0 attends to patch 1 and latent 1 to patch 3; then 0 to latent 1, 1 to the class token
      {block + "0.0.q_proj.weight", {{2, 8}, {4, 9}}},
      {block + "1.0.q_proj.weight", {{9, 8}, {0, 9}}},
      // token 5 attends to latent 0 and token 6 to latent 1, and in the next layer vice versa
      {cross + "0.cross_attn.q_proj.weight", {{8, 5}, {9, 6}}},
      {cross + "1.cross_attn.q_proj.weight", {{9, 5}, {8, 6}}},
  };
}

Tensor weight_of(const std::string& name, const Shape& shape) {
  Tensor weight = Tensor::zeros(DType::f32, shape);
  const auto values = weight.as_mutable<float>();
  const auto put = [&](std::int64_t row, std::int64_t column, float value) {
    values[static_cast<std::size_t>(row * width + column)] = value;
  };
  const auto known = queries();
  if (const auto q = known.find(name); q != known.end()) {
    for (const auto& [row, column] : q->second) put(row, column, sharp);
  } else if (name.ends_with("k_proj.weight") || name.ends_with("embed_tokens.weight") ||
             name.ends_with("position_embedding.weight")) {
    for (std::int64_t i = 0; i < shape[0]; ++i) put(i, i, 1);
  } else if (name.ends_with("latents")) {
    put(0, 8, 1), put(1, 9, 1);
  } else if (name == "lm_head.weight") {
    for (std::int64_t i = 1; i < width; ++i) put(i, i - 1, 1);  // the next token is the next number
  } else if (shape.rank() == 1 && name.ends_with(".weight")) {  // of a norm
    std::ranges::fill(values, 1.0f);
  }
  return weight;
}

Model known_model() {
  const testing::TempDir folder;
  folder.write("config.json", config_json);
  WeightTable table;
  const Idefics names(table, Config::from_file(folder.path() / "config.json"));
  std::vector<TensorForm> forms;
  for (const WeightRequest& request : table.requests())
    forms.push_back({(request.name.starts_with("lm_head") ? "" : "model.") + request.name,
                     DType::f32, request.shape});
  SafetensorsWriter writer(folder.path() / "model.safetensors", forms, {}, 0);
  for (const TensorForm& form : forms) writer.put({form.name, weight_of(form.name, form.shape)});
  writer.finish();
  return Model::from_pretrained(folder.path().string());
}

/// The prompt "1 5" that sees two pictures, or one or none of them.
Inputs prompt(bool first = true, bool second = false) {
  return {Tensor::from(std::vector<std::int64_t>{1, 5}, {1, 2}),
          Tensor::from(std::vector<std::int64_t>{1, 1}, {1, 2}),
          Tensor::zeros(DType::f32, {1, 2, 3, 8, 8}),
          Tensor::from(std::vector<std::int64_t>{first, second, first, second}, {1, 2, 2})};
}

GenerationOutput three_tokens(const Model& model, const Inputs& inputs) {
  GenerationConfig config{.max_new_tokens = 3};
  config.output_attentions = true;
  return model.generate(inputs, config);
}

/// The shares of a step and picture: class token, four patches, learned latents.
std::vector<float> shares(const AttentionRollout& rollout, std::size_t step, std::size_t picture) {
  const std::size_t at = step * 2 + picture;
  std::vector<float> all{rollout.class_token.as<float>()[at]};
  const auto patches = rollout.patches.as<float>().subspan(at * 4, 4);
  all.insert(all.end(), patches.begin(), patches.end());
  all.push_back(rollout.learned_latents.as<float>()[at]);
  return all;
}

using Shares = std::vector<float>;
// by hand: class token, patches 0 to 3, learned latents
const Shares latent_0{0, 0, 0.25f, 0, 0.25f, 0.5f}, latent_1{0.5f, 0, 0, 0, 0.25f, 0.25f},
    both{0.25f, 0, 0.125f, 0, 0.25f, 0.375f}, nothing{0, 0, 0, 0, 0, 0};

}  // namespace

TEST_CASE("what tokens looked at is the product of all attention on the way") {
  const Model model = known_model();
  const Inputs inputs = prompt();
  const auto output = three_tokens(model, inputs);
  REQUIRE(output.new_tokens[0] == std::vector<std::int32_t>{6, 7, 8});
  const auto rolled = [&](AttentionRolloutOptions options) {
    return attention_rollout(model, inputs, output, options);
  };
  const auto all = rolled({}), layer_0 = rolled({.layer = 0}), layer_1 = rolled({.layer = 1});
  CHECK((all.rows == 2 && all.columns == 2));
  CHECK(shares(all, 0, 0) == both);
  CHECK(shares(layer_0, 0, 0) == latent_0);  // token 5 chose the first new one
  CHECK(shares(layer_0, 1, 0) == latent_1);  // token 6 the second
  CHECK(shares(layer_1, 0, 0) == latent_1);
  CHECK(shares(rolled({.head = 0}), 0, 0) == both);
  CHECK(shares(layer_0, 2, 0) == both);  // token 7 has no query: it attends to both latents alike
  for (std::size_t step = 0; step < 3; ++step) CHECK(shares(all, step, 1) == nothing);  // not seen

  // patch 1 was made of itself, patch 2 and patch 3, and patch 3 of itself and the class token
  CHECK(shares(rolled({.layer = 0, .vision = true}), 0, 0) ==
        Shares{0.125f, 0, 0.0625f, 0.125f, 0.1875f, 0.5f});
}

TEST_CASE("attention to several pictures is shared between them, and zero without any") {
  const Model model = known_model();
  const Inputs two = prompt(true, true), none = prompt(false, false);
  const auto both_seen = attention_rollout(model, two, three_tokens(model, two), {.layer = 0});
  for (std::size_t picture = 0; picture < 2; ++picture)
    CHECK(shares(both_seen, 0, picture) == Shares{0, 0, 0.125f, 0, 0.125f, 0.25f});
  const auto unseen = attention_rollout(model, none, three_tokens(model, none));
  for (std::size_t picture = 0; picture < 2; ++picture)
    CHECK(shares(unseen, 1, picture) == nothing);
}

TEST_CASE("a layer or head that the model does not have is refused, and so is a missing record") {
  const Model model = known_model();
  const Inputs inputs = prompt();
  const auto output = three_tokens(model, inputs);
  const auto refused = [&](const GenerationOutput& of, AttentionRolloutOptions options) {
    try {
      attention_rollout(model, inputs, of, options);
    } catch (const Error& error) {
      return std::string(name_of(error.code())) + " " + error.context().field + " " +
             std::to_string(error.context().limit.value_or(0));
    }
    return std::string("accepted");
  };
  CHECK(refused(output, {.layer = 2}) == "invalid_option layer 1");
  CHECK(refused(output, {.layer = -1}) == "invalid_option layer 1");
  CHECK(refused(output, {.head = 1}) == "invalid_option head 0");
  CHECK(refused(output, {.row = 1}) == "invalid_argument  0");
  CHECK(refused(model.generate(inputs, {.max_new_tokens = 1}), {}) == "invalid_argument  0");
}

TEST_CASE("words are the tokens between spaces, and look where their tokens do on average") {
  const auto tokenizer =
      Tokenizer::from_pretrained(std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples/tiny");
  std::vector<std::int32_t> ids = tokenizer.encode("a zebra\n\n left of it.  Yes");
  ids.push_back(tokenizer.eos_id());
  const auto words = word_spans(tokenizer, ids);
  std::vector<std::string> texts;
  for (const WordSpan& word : words) texts.push_back(word.text);
  CHECK(texts == std::vector<std::string>{"a", "zebra", "left", "of", "it.", "Yes"});
  REQUIRE(words[1].end - words[1].begin > 1);
  CHECK(words.back().end == ids.size() - 1);

  const std::vector<WordSpan> spans{{"x", 0, 1}, {"yz", 1, 3}};
  const Tensor one = Tensor::from(std::vector<float>{1, 3, 4}, {3, 1});
  const auto mean =
      mean_of_words({.rows = 1,
                     .columns = 2,
                     .patches = Tensor::from({1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 8.0f}, {3, 1, 2}),
                     .class_token = one,
                     .learned_latents = one},
                    spans);
  CHECK(std::ranges::equal(mean.patches.as<float>(), std::vector<float>{1, 2, 4, 6}));
  CHECK(std::ranges::equal(mean.class_token.as<float>(), std::vector<float>{1, 3.5f}));
  CHECK(word_spans(tokenizer, {}).empty());
}
