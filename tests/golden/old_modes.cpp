// Modes that transformers has removed, against the last releases that had them
// (tests/reference/make_old_modes.py).
#include <cstdio>

#include "support/catch.hpp"
#include "support/golden_modes.hpp"

using namespace idefics;

TEST_CASE("diverse beams equal those of transformers 4.56.2") {
  CHECK(golden::compare_cases("groups.json") >= 160);
}

TEST_CASE("contrastive search equals that of transformers 4.55.4") {
  CHECK(golden::compare_cases("contrastive.json") >= 120);
}

TEST_CASE("DoLa equals that of transformers 4.55.4") {
  CHECK(golden::compare_cases("dola.json") >= 105);
}

TEST_CASE("constrained beams equal those of transformers 4.56.2") {
  CHECK(golden::compare_cases("constrained.json") >= 155);
}
