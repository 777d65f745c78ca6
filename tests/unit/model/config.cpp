// Configurations: nested, flat, with defaults omitted, and with every kind of error.
#include <idefics/io/json.hpp>
#include <idefics/model/config.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

Config read(const char* text) { return Config::from_json(Json::parse(text), "config.json"); }

/// The error that a configuration causes: its code and the key that it names.
std::pair<std::string, std::string> refusal(const char* text) {
  try {
    read(text);
  } catch (const Error& error) {
    return {std::string(error.code_name()), error.context().field};
  }
  return {"accepted", ""};
}

}  // namespace

TEST_CASE("omitted keys have transformers' defaults") {
  const Config c = read(R"({"model_type": "idefics"})");
  CHECK(c.vocab_size == 32000);
  CHECK(c.additional_vocab_size == 0);
  CHECK(c.hidden_size == 4096);
  CHECK(c.num_hidden_layers == 32);
  CHECK(c.cross_layer_interval == 1);
  CHECK_FALSE(c.use_resampler);
  CHECK_FALSE(c.qk_layer_norms);
  CHECK(c.rms_norm_eps == 1e-6f);
  CHECK(c.vision.embed_dim == 768);
  CHECK(c.vision.num_positions() == 257);
  CHECK(c.perceiver.latents == 64);
  CHECK(c.eos_token_ids == std::vector<std::int32_t>{2});
}

TEST_CASE("negative ids mean that the model lacks the token") {
  const Config c = read(R"({"model_type": "idefics", "eos_token_id": [-1, 2], "bos_token_id": -1,
                            "pad_token_id": -1})");
  CHECK(c.eos_token_ids == std::vector<std::int32_t>{2});
  CHECK_FALSE(c.bos_token_id);
  CHECK_FALSE(c.pad_token_id);
  CHECK(read(R"({"model_type": "idefics", "eos_token_id": -1})").eos_token_ids.empty());
  const Config none =
      read(R"({"model_type": "idefics", "eos_token_id": null, "pad_token_id": null})");
  CHECK(none.eos_token_ids.empty());
  CHECK_FALSE(none.pad_token_id);
}

TEST_CASE("the nested layout is read, with either name of the tower's width") {
  const Config c = read(R"({"model_type": "idefics", "use_resampler": true, "alpha_type": "vector",
    "vision_config": {"hidden_size": 1280, "hidden_act": "quick_gelu",
                      "model_type": "idefics_vision"},
    "perceiver_config": {"resampler_depth": 2, "use_resampler": false,
                         "model_type": "idefics_perciever"}})");
  CHECK(c.vision.embed_dim == 1280);
  CHECK(c.vision.hidden_act == Activation::quick_gelu);
  CHECK(c.perceiver.depth == 2);
  CHECK(c.use_resampler);  // only the top-level key decides
  CHECK(c.vector_gates);
}

TEST_CASE("the flat legacy layout is read") {
  const Config c =
      read(R"({"model_type": "idefics", "vision_embed_dim": 1280, "vision_image_size": 336,
    "vision_intermediate_size": 64, "vision_patch_size": 28, "vision_num_attention_heads": 8,
    "vision_num_hidden_layers": 3, "resampler_n_latents": 5, "resampler_depth": 4,
    "resampler_n_heads": 2, "resampler_head_dim": 6, "qk_layer_norms_perceiver": true})");
  CHECK(c.vision.embed_dim == 1280);
  CHECK(c.vision.image_size == 336);
  CHECK(c.vision.patch_size == 28);
  CHECK(c.vision.num_hidden_layers == 3);
  CHECK(c.perceiver.latents == 5);
  CHECK(c.perceiver.head_dim == 6);
  CHECK(c.perceiver.qk_layer_norms);
}

TEST_CASE("end tokens are one id, a list, or none") {
  CHECK(read(R"({"model_type": "idefics", "eos_token_id": [2, 7]})").eos_token_ids.size() == 2);
  CHECK(read(R"({"model_type": "idefics", "eos_token_id": null})").eos_token_ids.empty());
  CHECK_FALSE(read(R"({"model_type": "idefics", "pad_token_id": null})").pad_token_id.has_value());
}

TEST_CASE("invalid configurations are refused, naming the key") {
  using Refusal = std::pair<std::string, std::string>;
  const std::string bad = "invalid_config";
  CHECK(refusal(R"({})").first == "unsupported_architecture");
  CHECK(refusal(R"({"model_type": "llama"})").first == "unsupported_architecture");
  CHECK(refusal(R"({"model_type": 3})") == Refusal{bad, "model_type"});
  CHECK(refusal(R"({"model_type": "idefics", "hidden_size": 0})") == Refusal{bad, "hidden_size"});
  CHECK(refusal(R"({"model_type": "idefics", "hidden_size": 1e3})") == Refusal{bad, "hidden_size"});
  CHECK(refusal(R"({"model_type": "idefics", "hidden_size": "4096"})") ==
        Refusal{bad, "hidden_size"});
  CHECK(refusal(R"({"model_type": "idefics", "hidden_size": 18446744073709551615})") ==
        Refusal{bad, "hidden_size"});
  CHECK(refusal(R"({"model_type": "idefics", "num_attention_heads": 33})") ==
        Refusal{bad, "num_attention_heads"});
  CHECK(refusal(R"({"model_type": "idefics", "cross_layer_interval": 5})") ==
        Refusal{bad, "cross_layer_interval"});
  CHECK(refusal(R"({"model_type": "idefics", "hidden_act": "magic"})") ==
        Refusal{bad, "hidden_act"});
  CHECK(refusal(R"({"model_type": "idefics", "alpha_type": "matrix"})") ==
        Refusal{bad, "alpha_type"});
  CHECK(refusal(R"({"model_type": "idefics", "vision_config": 3})") ==
        Refusal{bad, "vision_config."});
  CHECK(refusal(R"({"model_type": "idefics", "vision_config": {"patch_size": 300}})") ==
        Refusal{bad, "vision_config.patch_size"});
  CHECK(refusal(R"({"model_type": "idefics", "eos_token_id": 99999})") ==
        Refusal{bad, "eos_token_id"});
  CHECK(refusal(R"({"model_type": "idefics", "rms_norm_eps": -1})") ==
        Refusal{bad, "rms_norm_eps"});
  CHECK(refusal(R"({"model_type": "idefics", "use_resampler": 1})") ==
        Refusal{bad, "use_resampler"});
}

TEST_CASE("every activation of transformers without parameters is known") {
  for (const char* name : {"gelu",
                           "gelu_10",
                           "gelu_fast",
                           "gelu_new",
                           "gelu_python",
                           "gelu_pytorch_tanh",
                           "gelu_python_tanh",
                           "gelu_accurate",
                           "laplace",
                           "leaky_relu",
                           "linear",
                           "mish",
                           "quick_gelu",
                           "relu",
                           "relu2",
                           "relu6",
                           "sigmoid",
                           "silu",
                           "swish",
                           "tanh"})
    CHECK_NOTHROW(
        read((std::string(R"({"model_type": "idefics", "hidden_act": ")") + name + "\"}").c_str()));
}
