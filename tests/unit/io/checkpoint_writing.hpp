#pragma once
// Parameters with known elements, and checkpoints of them in any partition over ranks.
#include <algorithm>
#include <string>
#include <vector>

#include "sherd/base/rng.hpp"
#include "sherd/io/checkpoint.hpp"

namespace sherd {

struct TestParameter {
  std::string name;
  std::vector<std::int64_t> shape;
  bool moments = true;
  std::int64_t elements() const {
    std::int64_t n = 1;
    for (const std::int64_t d : shape) n *= d;
    return n;
  }
  std::vector<float> values(ParamState state) const {
    const Random random(7, Purpose::test, stable_hash(name) + static_cast<std::uint64_t>(state));
    std::vector<float> out(static_cast<std::size_t>(elements()));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = random.normal(i);
    return out;
  }
  std::vector<ParamState> states() const {
    return moments ? std::vector{ParamState::master, ParamState::m, ParamState::v} : std::vector{ParamState::master};
  }
};

inline std::vector<TestParameter> test_parameters() {
  return {{"model.embed_tokens.weight", {37, 16}},
          {"model.layers.0.mlp.up_proj.weight", {24, 17}},
          {"model.norm.weight", {19}},
          {"model.frozen.weight", {3, 5}, false},
          {"model.one.weight", {1, 1}}};
}

struct TestPiece {
  int rank;
  std::int64_t first, count;
};

/// Cuts [0, elements) at random places and deals the pieces to random ranks.
inline std::vector<TestPiece> random_pieces(std::int64_t elements, int world, std::uint64_t seed) {
  const Random random(seed, Purpose::test, static_cast<std::uint64_t>(elements));
  std::vector<TestPiece> pieces;
  std::uint64_t draw = 0;
  for (std::int64_t first = 0; first < elements;) {
    const auto most = static_cast<std::uint64_t>(std::min<std::int64_t>(elements - first, elements / 3 + 1));
    const auto count = static_cast<std::int64_t>(1 + random.bits(draw++) % most);
    pieces.push_back({static_cast<int>(random.bits(draw++) % static_cast<std::uint64_t>(world)), first, count});
    first += count;
  }
  return pieces;
}

/// The strings that rank 0 would have gathered.
inline std::vector<std::string> write_parts(const std::filesystem::path& output, std::int64_t step, int world,
                                            std::uint64_t seed) {
  begin_checkpoint(output, step);
  std::vector<std::string> parts;
  for (int rank = 0; rank < world; ++rank) {
    CheckpointWriter writer(output, step, rank);
    for (const TestParameter& p : test_parameters()) {
      for (const ParamState state : p.states()) {
        const std::vector<float> all = p.values(state);
        for (const TestPiece& piece : random_pieces(p.elements(), world, seed)) {
          if (piece.rank != rank) continue;
          writer.add(
              p.name, p.shape, state, piece.first,
              std::span(all).subspan(static_cast<std::size_t>(piece.first), static_cast<std::size_t>(piece.count)));
        }
      }
    }
    parts.push_back(writer.finish());
  }
  return parts;
}

inline std::filesystem::path write_checkpoint(const std::filesystem::path& output, std::int64_t step, int world,
                                              std::uint64_t seed, int keep = 0) {
  const CheckpointMetadata metadata{step, step * 1000, world, R"({"learning_rate":0.1})"};
  return commit_checkpoint(output, metadata, write_parts(output, step, world, seed), keep);
}

}  // namespace sherd
