// A decode step allocates nothing: every malloc and operator new between two steps is counted.
#include <atomic>
#include <cstdlib>
#include <new>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

// The replacements below pair malloc with free; GCC takes them for a mix-up.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {
std::atomic<long> allocations{0};
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  ++allocations;
  const auto align = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(align, (size + align - 1) / align * align);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }

using namespace idefics;

TEST_CASE("a decode step allocates nothing") {
  for (const auto& name : golden::model_names()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      auto model = golden::load(name, {.dtype = dtype});
      std::mt19937 random(5);
      std::vector<testing::RandomPrompt> rows;
      for (int i = 0; i < 3; ++i)
        rows.push_back(testing::random_prompt(random, model.config(), 6, 2));
      const auto inputs = testing::batch_of(rows, model.config(), true);
      for (const std::int64_t beams : {1, 3}) {
        const GenerationConfig config{
            .max_new_tokens = 12, .eos_token_id = std::vector<std::int32_t>{}, .num_beams = beams};
        std::vector<long> counts;
        counts.reserve(64);
        model.generate(inputs, config, {}, [&counts](auto) {
          counts.push_back(allocations.load());
          return true;
        });
        INFO(name << ", beams: " << beams);
        REQUIRE(counts.size() == 12);
        // the first step of all beams has more rows than any pass before: a backend makes room
        CHECK(counts.back() == counts[beams > 1 ? 1 : 0]);
      }
    }
  }
}
