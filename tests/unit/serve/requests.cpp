// Bodies of requests to `idefics serve`: what they mean in the engine's options, and the place of every
// fault. Answers that end at a stop, and the status of each error.
#include <cli/serve/errors.hpp>
#include <cli/serve/requests.hpp>
#include <cli/serve/stop_text.hpp>

#include "support/catch.hpp"

using namespace cli::serve;
using namespace idefics;

namespace {

constexpr const char* messages = R"("messages": [{"role": "user", "content": "a"}])";

Options chat_options(const std::string& more) {
  return read_chat_request("{" + std::string(messages) + (more.empty() ? "" : ", ") + more + "}")
      .options;
}

/// The code and the place of the fault that reading throws: "invalid_option messages[0].role".
template <class F>
std::string refused(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return std::string(error.code_name()) + " " + error.context().field;
  }
  return "accepted";
}
std::string refused_chat(const std::string& more) {
  return refused([&] { chat_options(more); });
}
std::string refused_body(const std::string& body) {
  return refused([&] { read_chat_request(body); });
}
std::string refused_prompt(const std::string& prompt) {
  return refused([&] { read_completion_request(R"({"prompt": )" + prompt + "}"); });
}

}  // namespace

TEST_CASE("OpenAI's fields become GenerationConfig's", "[serve]") {
  const Options all = chat_options(
      R"("max_completion_tokens": 7, "n": 2, "seed": 5, "temperature": 0.5, "top_p": 0.25,
         "stop": [" x", "y"], "stop_strings": "z", "logit_bias": {"12": -100}, "user": "me",
         "logprobs": true, "top_logprobs": 4, "stream": true,
         "stream_options": {"include_usage": true}, "presence_penalty": 1.5, "model": "m")");
  CHECK(all.model == "m");
  CHECK(all.config.max_new_tokens == 7);
  CHECK(all.config.num_return_sequences == 2);
  CHECK(all.config.seed == 5u);
  CHECK(all.config.do_sample == true);
  CHECK(all.config.temperature == 0.5);
  CHECK(all.config.top_p == 0.25);
  CHECK(all.config.presence_penalty == 1.5);
  CHECK(all.config.stop_strings == std::vector<std::string>{"z", " x", "y"});
  CHECK(all.stop == std::vector<std::string>{" x", "y"});
  REQUIRE(all.config.sequence_bias.size() == 1);
  CHECK(all.config.sequence_bias[0].ids == std::vector<std::int32_t>{12});
  CHECK(all.config.sequence_bias[0].bias == -100);
  CHECK(all.config.top_logprobs == 4);
  CHECK((all.logprobs && all.stream && all.include_usage));
}

TEST_CASE("sampling is what asks for it", "[serve]") {
  CHECK_FALSE(chat_options("").config.do_sample);
  CHECK(chat_options(R"("temperature": 1)").config.do_sample == true);
  CHECK(chat_options(R"("top_p": 1)").config.do_sample == true);
  CHECK(chat_options(R"("n": 2)").config.do_sample == true);
  CHECK_FALSE(chat_options(R"("n": 2, "num_beams": 2)").config.do_sample);
  CHECK_FALSE(chat_options(R"("top_k": 3)").config.do_sample);
  CHECK(chat_options(R"("temperature": 1, "do_sample": false)").config.do_sample == false);
  const Options cold = chat_options(R"("temperature": 0, "top_p": 0.5)");
  CHECK(cold.config.do_sample == false);
  CHECK_FALSE(cold.config.temperature);
}

TEST_CASE("pictures are URLs, never paths", "[serve]") {
  const auto request = read_chat_request(R"({"messages": [{"role": "user", "content": [
      {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": " data:,x"}},
      {"type": "text", "text": "b"}, {"type": "image_url", "image_url": "http://h/p"}]}]})");
  REQUIRE(request.messages.size() == 1);
  CHECK(request.messages[0].text == "ab");
  REQUIRE(request.messages[0].pictures.size() == 2);
  CHECK(request.messages[0].pictures[0].url == "data:,x");
  CHECK(request.messages[0].pictures[0].where == "messages[0].content[1].image_url.url");
  CHECK(request.messages[0].pictures[1].where == "messages[0].content[3].image_url");
  for (const char* path : {"/etc/passwd", "a.png", "file:///etc/passwd", "", "iVBORw0KGgo="})
    CHECK(refused([&] { read_embedding_request(R"({"input": ")" + std::string(path) + "\"}"); }) ==
          "invalid_option input");
}

TEST_CASE("prompts are texts, or texts with pictures", "[serve]") {
  const auto shape = [](const std::string& prompt) {
    std::string text;
    for (const PromptParts& parts :
         read_completion_request(R"({"prompt": )" + prompt + "}").prompts) {
      text += "(";
      for (const PromptPart& part : parts)
        text += part.picture.url.empty() ? "[" + part.text + "]" : "<" + part.picture.url + ">";
      text += ")";
    }
    return text;
  };
  CHECK(shape(R"("http://h/p")") == "([http://h/p])");  // as `idefics generate TEXT`
  CHECK(shape(R"(["a", "b"])") == "([a])([b])");
  CHECK(shape(R"(["a", {"image": "data:,x"}, " http://h/p ", {"text": "http://h/q"}])") ==
        "([a]<data:,x><http://h/p>[http://h/q])");
  CHECK(shape(R"([["a"], [{"image_url": {"url": "http://h/p"}}]])") == "([a])(<http://h/p>)");
  CHECK(refused_prompt("[1, 2]") == "invalid_option prompt[0]");
  CHECK(refused_prompt("[[1], [2]]") == "invalid_option prompt[0][0]");
  CHECK(refused_prompt(R"([["a"], "b"])") == "invalid_option prompt[1]");
  CHECK(refused_prompt("[]") == "invalid_option prompt");
}

TEST_CASE("faults name their place", "[serve]") {
  CHECK(refused_body("{}") == "invalid_option messages");
  CHECK(refused_body("[]") == "invalid_json ");
  CHECK(refused_body(R"({"messages": [{"role": "x", "content": ""}]})") ==
        "invalid_option messages[0].role");
  CHECK(refused_chat(R"("temprature": 1)") == "invalid_option temprature");
  CHECK(refused_chat(R"("max_tokens": 1, "max_new_tokens": 2)") == "invalid_option max_tokens");
  CHECK(refused_chat(R"("stop": ["a", ""])") == "invalid_option stop");
  CHECK(refused_chat(R"("stop": [1])") == "invalid_option stop[0]");
  CHECK(refused_chat(R"("top_logprobs": 21)") == "invalid_option top_logprobs");
  CHECK(refused_chat(R"("output_attentions": true)") == "invalid_option output_attentions");
  CHECK(refused_chat(R"("stopping_criteria": [1])") == "invalid_option stopping_criteria");
  CHECK(refused_chat(R"("response_format": {"type": "xml"})") ==
        "invalid_option response_format.type");
  CHECK(
      refused_chat(
          R"("response_format": {"type": "json_schema", "json_schema": {"schema": {"not": 1}}})") ==
      "invalid_option response_format.json_schema.schema.not");
  CHECK(refused_chat(R"("guided_regex": "(")") == "invalid_option guided_regex");
  CHECK(refused_chat(R"("tools": [], "tool_choice": "auto", "modalities": ["text"])") ==
        "accepted");
  CHECK(refused_chat(R"("seed": null, "stop": null, "stream": null)") == "accepted");
}

TEST_CASE("a request has a limited number of values", "[serve]") {
  CHECK(count_values(R"({"a": [1, ",[{\"", {}]})") == 6);
  std::string many = R"({"messages": [0)";
  for (std::size_t i = 0; i < most_values; ++i) many += ",0";
  CHECK(refused_body(many + "]}") == "invalid_json ");
}

TEST_CASE("an answer ends before a stop", "[serve]") {
  StopText stop({"<end>", "\n\n"});
  CHECK(stop.push("a <en") == "a ");
  CHECK(stop.push("tity> b\n") == "<entity> b");
  CHECK(stop.push("c<e") == "\nc");
  CHECK_FALSE(stop.stopped());
  CHECK(stop.push("nd> d") == "");
  CHECK(stop.stopped());
  CHECK(stop.push("more") == "");
  CHECK(stop.finish() == "");
  StopText open({"<end>"});
  CHECK(open.push("a<") == "a");
  CHECK(open.finish() == "<");
  StopText first({"bc", "abcd"});
  CHECK(first.push("abc") == "a");
}

TEST_CASE("errors have OpenAI's form, and hide what clients should not see", "[serve]") {
  const auto fault = fault_of(Error(ErrorCode::invalid_option, "bad", {.field = "n"}));
  CHECK(fault.status == 400);
  CHECK(fault.body == Json::parse(R"({"error": {"message": "bad [field: n]", "param": "n",
      "type": "invalid_request_error", "code": "invalid_option"}})"));
  CHECK(fault_of(Error(ErrorCode::out_of_memory, "")).status == 503);
  CHECK(fault_of(Error(ErrorCode::out_of_memory, "")).retry_after == 1);
  CHECK(fault_of(std::bad_alloc()).status == 503);
  CHECK(fault_of(Error(ErrorCode::context_overflow, "")).body["error"]["code"] ==
        "context_length_exceeded");
  const auto hidden = fault_of(Error(ErrorCode::io_failure, "secret", {.file = "/secret"}));
  CHECK(hidden.status == 500);
  CHECK(hidden.body.dump().find("secret") == std::string::npos);
  CHECK(fault_of(std::runtime_error("secret")).body.dump().find("secret") == std::string::npos);
}
