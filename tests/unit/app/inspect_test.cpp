#include "model_places.hpp"
#include "sherd/data/corpus.hpp"

namespace sherd::app {
namespace {

InspectConfig at(const fs::path& path) {
  return {path.string()};
}

void expect_lines(const fs::path& path, const std::vector<std::string>& lines) {
  const std::string text = printed_by([&] { EXPECT_EQ(inspect(at(path)), 0); });
  for (const std::string& line : lines)
    EXPECT_NE(text.find(line + "\n"), std::string::npos) << line << " not in\n" << text;
}

TEST(Inspect, Model) {
  const Places places("gqa");
  expect_lines(places.model(),
               {places.model().string() + ": Hugging Face model",
                "  model       30060 parameters: 2 layers, hidden 36, feed-forward 52, vocabulary 131",
                "  attention   6 query heads, 2 key/value heads of 8; positions up to 128, theta 1000000",
                "  weights     21 tensors of F32, 30060 elements, 0.1 MB, in 1 file(s)",
                "              model.layers.0.self_attn.q_proj.weight (48, 36)", "  tokenizer   tokenizer.model"});
}

TEST(Inspect, Checkpoint) {
  const Places places("gqa");
  expect_lines(places.step(1), {places.step(1).string() + ": checkpoint", "  step        1, after 1000 tokens",
                                "  config      {\"learning_rate\":0.25}", "  parameters  30060 in 21 tensors",
                                "  checksums   good: 0.1 MB of 2 rank(s)"});
}

TEST(Inspect, RunWithADamagedCheckpoint) {
  Places places("tied");
  places.write_step(20);
  Places::damage(places.step(20) / "manifest.json");
  std::ofstream(places.run() / "metrics.jsonl") << "{\"step\":19}\n{\"step\":20,\"loss\":2.5}\n";
  expect_lines(places.run(), {places.run().string() + ": run", "  tokenizer   tokenizer.model",
                              "  checkpoint  step-00000001: step 1, after 1000 tokens, 2 rank(s)",
                              "  metrics     {\"step\":20,\"loss\":2.5}"});
  const std::string text = printed_by([&] { inspect(at(places.run())); });
  EXPECT_NE(text.find("  damaged     " + places.step(20).string()), std::string::npos) << text;
}

TEST(Inspect, OnlyTheEndOfLongMetricsIsRead) {
  const Places places("tied");
  std::ofstream(places.run() / "metrics.jsonl") << std::string(300'000, 'x') << "\n{\"step\":3}\n\n";
  expect_lines(places.run(), {"  metrics     {\"step\":3}"});
}

TEST(Inspect, Corpus) {
  const TemporaryDirectory dir;
  CorpusInfo info;
  info.documents = 2;
  info.tokens = 5;
  info.pieces = 70'000;
  info.tokenizer_sha256 = std::string(64, 'a');
  info.source = "games.jsonl";
  info.eval_fraction = 0.5;
  info.split_seed = 1;
  const std::vector<std::uint32_t> tokens = {1, 2, 3, 4, 69'999};
  const std::vector<std::uint64_t> offsets = {0, 2, 5};
  {
    CorpusWriter writer((dir / "c.h5").string(), info);
    writer.append_tokens(std::as_bytes(std::span(tokens)));
    writer.append_offsets(offsets);
    writer.commit();
  }
  const Random split(1, Purpose::split, 0);
  const int out0 = split.uniform(0) < 0.5, out1 = split.uniform(1) < 0.5;
  expect_lines(dir / "c.h5", {"  documents   2, the longest of 3 tokens", "  tokens      5, 4 bytes each",
                              fmt::format("  held out    {} documents, {} tokens (a fraction of 0.5, seed 1)",
                                          out0 + out1, 2 * out0 + 3 * out1),
                              "  tokenizer   70000 pieces, sha256 " + info.tokenizer_sha256,
                              "  source      games.jsonl", "  checksums   good"});
}

TEST(Inspect, DamageIsAnError) {
  const Places places("gqa");
  Places::damage(places.step(1) / "rank-0000.h5");
  EXPECT_BAD_INPUT(printed_by([&] { inspect(at(places.step(1))); }), "damaged");
}

TEST(Inspect, WhatIsNoneOfOursIsAnError) {
  const TemporaryDirectory dir;
  EXPECT_BAD_INPUT(inspect(at(dir / "absent")), "No such file or directory; a file or directory is expected");
  EXPECT_BAD_INPUT(inspect(at(dir.path())), "neither a model");
  std::ofstream(dir / "text") << "text";
  EXPECT_BAD_INPUT(inspect(at(dir / "text")), "not a readable HDF5 file");
}

}  // namespace
}  // namespace sherd::app
