// Models that several ranks compute together, here threads, have the bits of one process.
#include <cstring>
#include <exception>
#include <random>
#include <thread>

#include <idefics/backend/tensor_parallel.hpp>
#include <idefics/idefics.hpp>
#include <idefics/plan/rank_share.hpp>
#include <idefics/ranks/thread_ranks.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"

using namespace idefics;

namespace {

/// Calls work(communicator) in a thread for each rank. Returns what each has thrown, or "".
template <class Work>
std::vector<std::string> on_ranks(int size, const Work& work,
                                  std::chrono::milliseconds timeout = std::chrono::minutes(2)) {
  const ThreadRanks ranks(size, timeout);
  std::vector<std::string> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r)
    threads.emplace_back([&, r] {
      const auto communicator = ranks.communicator(r);
      try {
        work(communicator);
      } catch (const Error& error) {
        errors[static_cast<std::size_t>(r)] = error.what();
        communicator->give_up(error.what());
      }
    });
  for (std::thread& thread : threads) thread.join();
  return errors;
}

bool same_bits(const Tensor& x, const Tensor& y) {
  return x.shape() == y.shape() &&
         (x.bytes() == 0 || std::memcmp(x.raw(), y.raw(), x.bytes()) == 0);
}

/// A checkpoint, the form of its weights, a mode of generation and a number of ranks.
struct Plan {
  std::string checkpoint;
  int ranks;
  ModelOptions options;
  GenerationConfig generation;
  bool padded;

  explicit Plan(unsigned seed) {
    std::mt19937 random(seed);
    const auto one_of = [&](auto... values) {
      const std::array all{values...};
      return all[random() % all.size()];
    };
    const auto names = golden::model_names();
    checkpoint = names[random() % names.size()];
    ranks = one_of(2, 2, 3, 3, 4, 5);
    options = {.device_map = "cpu", .prefill_chunk = one_of(3, 7, 256)};
    const std::array<std::optional<DType>, 4> dtypes{std::nullopt, DType::f32, DType::bf16,
                                                     DType::f16};
    options.dtype = dtypes[random() % dtypes.size()];
    BitsAndBytesConfig& q = options.quantization_config;
    switch (random() % 5) {
      case 0: q.load_in_4bit = true, q.bnb_4bit_quant_type = QuantType::nf4; break;
      case 1: q.load_in_4bit = true, q.bnb_4bit_quant_type = QuantType::fp4; break;
      case 2: q.load_in_8bit = true; break;
      default: break;
    }
    q.bnb_4bit_use_double_quant = q.load_in_4bit && random() % 2 == 0;
    generation.max_new_tokens = 4, generation.min_new_tokens = 4;
    generation.num_beams = one_of(1, 1, 2, 3);
    generation.do_sample = random() % 2 == 0;
    generation.seed = random() % 1000;
    generation.output_scores = true;
    if (random() % 4 == 0) generation.max_time = 1000;
    if (generation.num_beams == 1 && !generation.do_sample && random() % 4 == 0)
      generation.penalty_alpha = 0.6, generation.top_k = 3;
    padded = random() % 2 == 0;
    if (random() % 3 == 0) options.kv_cache_dtype = DType::bf16;
  }
};

std::string text_of(const Plan& plan) {
  const auto& q = plan.options.quantization_config;
  return plan.checkpoint + ", " + std::to_string(plan.ranks) + " ranks, " +
         (q.load_in_4bit   ? "4 bits"
          : q.load_in_8bit ? "int8"
                           : "plain") +
         ", " + std::to_string(*plan.generation.num_beams) + " beams";
}

bool same(const GenerationOutput& x, const GenerationOutput& y) {
  if (x.new_tokens != y.new_tokens || x.sequences_scores != y.sequences_scores) return false;
  return same_bits(x.scores, y.scores);
}

}  // namespace

TEST_CASE("logits and latents of ranks have the bits of one process in every architecture") {
  for (const auto& name : golden::model_names())
    for (const int size : {1, 2, 3, 7}) {
      INFO(name << " on " << size << " ranks");
      const auto alone = golden::load(name, {.device_map = "cpu"});
      const auto errors = on_ranks(size, [&](const std::shared_ptr<Communicator>& ranks) {
        const auto model =
            golden::load(name, {.device_map = "cpu", .prefill_chunk = 5, .ranks = ranks});
        for (const auto& one : golden::forward_cases(name)) {
          const ForwardOptions options = golden::options_for(alone.config(), one.inputs);
          const auto expected = alone.forward(one.inputs, options);
          const auto found = model.forward(one.inputs, options);
          require(same_bits(found.logits, expected.logits), "other logits");
          require(same_bits(found.image_hidden_states, expected.image_hidden_states),
                  "other latents");
        }
      });
      CHECK(errors == std::vector<std::string>(static_cast<std::size_t>(size)));
    }
}

TEST_CASE("200 random plans give the ids, scores and beams of one process") {
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Plan plan(seed);
    INFO("plan " << seed << ": " << text_of(plan));
    const auto cases = golden::forward_cases(plan.checkpoint);
    const Inputs& inputs = plan.padded ? cases.back().inputs : cases.front().inputs;
    const auto alone = golden::load(plan.checkpoint, plan.options);
    const ForwardOptions forward = golden::options_for(alone.config(), inputs);
    const auto expected = alone.generate(inputs, plan.generation, forward);
    const auto errors = on_ranks(plan.ranks, [&](const std::shared_ptr<Communicator>& ranks) {
      ModelOptions options = plan.options;
      options.ranks = ranks;
      const auto found =
          golden::load(plan.checkpoint, options).generate(inputs, plan.generation, forward);
      require(same(found, expected), "another answer");
    });
    CHECK(errors == std::vector<std::string>(static_cast<std::size_t>(plan.ranks)));
  }
}

TEST_CASE("all ranks stop when the first one does") {
  const auto one = golden::forward_cases("published").front();
  const auto stopped = [&](const std::shared_ptr<Communicator>& ranks) {
    const auto model = golden::load("published", {.device_map = "cpu", .ranks = ranks});
    int steps = 0;
    const bool first = ranks->rank() == 0;
    const auto output = model.generate(one.inputs, {.max_new_tokens = 8, .min_new_tokens = 8}, {},
                                       [&](auto) { return !first || ++steps < 3; });
    require(output.new_tokens.front().size() == 3, "another length");
  };
  const auto errors = on_ranks(3, stopped, std::chrono::seconds(10));
  CHECK(errors == std::vector<std::string>(3));
}

TEST_CASE("a rank that ends early ends the others with its reason, and a late one with a limit") {
  const auto one = golden::forward_cases("published").front();
  const auto lost = on_ranks(3, [&](const std::shared_ptr<Communicator>& ranks) {
    const auto model = golden::load("published", {.device_map = "cpu", .ranks = ranks});
    if (ranks->rank() == 1) fail(ErrorCode::io_failure, "the disk is gone");
    (void)model.generate(one.inputs, {.max_new_tokens = 4});
  });
  CHECK(lost[0].find("rank") != std::string::npos);
  CHECK(lost[0].find("the disk is gone") != std::string::npos);
  CHECK(lost[2].find("the disk is gone") != std::string::npos);

  const auto late = on_ranks(
      2,
      [&](const std::shared_ptr<Communicator>& ranks) {
        if (ranks->rank() == 1) return;
        ranks->barrier();
      },
      std::chrono::milliseconds(50));
  CHECK(late[0].find("does not answer") != std::string::npos);
}

TEST_CASE("a step receives what docs/scale.md says") {
  const auto one = golden::forward_cases("published").front();
  const auto errors = on_ranks(2, [&](const std::shared_ptr<Communicator>& ranks) {
    const auto model = golden::load("published", {.device_map = "cpu", .ranks = ranks});
    const auto& backend = dynamic_cast<const TensorParallelBackend&>(model.backend());
    const auto received = [&](std::int64_t tokens) {
      const std::uint64_t before = backend.received_bytes();
      (void)model.generate(one.inputs, {.max_new_tokens = tokens, .min_new_tokens = tokens});
      return backend.received_bytes() - before;
    };
    const Config& c = model.config();
    const auto of_others = [&](std::int64_t width) {
      const Sharding s = detail::shard_outputs(width, detail::head_widths(c));
      return width - s.begin(ranks->rank() + 1, 2) + s.begin(ranks->rank(), 2);
    };
    const std::int64_t cross =
        (c.num_hidden_layers + c.cross_layer_interval - 1) / c.cross_layer_interval;
    const std::int64_t layer = 3 * of_others(c.hidden_size) + of_others(c.intermediate_size);
    const std::int64_t step = (c.num_hidden_layers + cross) * layer + of_others(c.vocab_size) +
                              of_others(c.additional_vocab_size);
    (void)received(2);  // the pictures are encoded
    const std::uint64_t three = received(3);
    const std::uint64_t found = received(4) - three;
    const std::int64_t rows = one.inputs.input_ids.dim(0);
    const auto expected = static_cast<std::uint64_t>(rows * step) * 4;
    if (found != expected)
      fail(ErrorCode::invalid_argument,
           std::to_string(found) + " bytes, not " + std::to_string(expected));
  });
  CHECK(errors == std::vector<std::string>(2));
}
