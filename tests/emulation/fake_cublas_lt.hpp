#pragma once
// cuBLASLt on the emulated device. Its algorithms are invented, by a test that wants others: gemm_test.cpp sees by them
// what Gemm and the search ask of the library.
#include <cstdint>
#include <string>
#include <vector>

namespace emulation {

/// One algorithm, as the 64 opaque bytes hold it: how it behaves.
struct FakeAlgorithm {
  std::uint64_t id = 0, scheme = 0, alignment = 1, workspace = 0, microseconds = 1;
  bool changes_bits = false, fails = false;
};

struct FakeLibrary {
  /// What the heuristic returns, best guess first. So slow that a search takes few samples.
  std::vector<FakeAlgorithm> algorithms{
      {.id = 1, .microseconds = 3000}, {.id = 2, .microseconds = 1000}, {.id = 3, .microseconds = 2000}};
  std::vector<std::uint64_t> ran{};         // ids, in order
  int heuristics = 0;                       // calls
  std::vector<std::uint32_t> alignments{};  // A, B, C, D of the last heuristic
  bool pedantic = false;                    // of the last product
  std::uint64_t in_eight_bits = 0;          // products of codes
};
FakeLibrary& fake();

}  // namespace emulation
