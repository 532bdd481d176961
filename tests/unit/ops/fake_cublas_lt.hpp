#pragma once
// A cuBLASLt whose algorithms the test invents: gemm_test.cpp sees by it what Gemm and the search ask of the library.
#include <cstdint>
#include <string>
#include <vector>

namespace sherd::ops_test {

/// One algorithm, as the 64 opaque bytes hold it: how it behaves.
struct FakeAlgorithm {
  std::uint64_t id = 0, scheme = 0, alignment = 1, workspace = 0, microseconds = 1;
  bool changes_bits = false, fails = false;
};

struct FakeLibrary {
  std::vector<FakeAlgorithm> algorithms{};  // what the heuristic returns, best guess first
  std::vector<std::uint64_t> ran{};         // ids, in order
  int heuristics = 0, plain = 0;            // calls
  std::vector<std::uint32_t> alignments{};  // A, B, C, D of the last heuristic
  bool pedantic = false;                    // of the last product
  double microseconds = 0;                  // the device's clock
};
FakeLibrary& fake();

}  // namespace sherd::ops_test
