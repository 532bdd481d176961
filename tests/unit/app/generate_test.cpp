#include <algorithm>

#include "model_places.hpp"
#include "sherd/base/rng.hpp"

namespace sherd::app {
namespace {

GenerateConfig asked(const fs::path& model, const std::string& prompt = "e2e4 e7e5") {
  GenerateConfig config;
  config.model = model.string();
  config.prompt = prompt;
  config.max_new_tokens = 20;
  config.device = "cpu";
  config.threads = 1;
  return config;
}

std::string text_of(const GenerateConfig& config) {
  return printed_by([&] { EXPECT_EQ(generate(config), 0); });
}

TEST(Generate, ModelRunAndCheckpointGiveOneText) {
  for (const char* name : {"gqa", "tied", "llama3"}) {
    const Places places(name);
    const std::string text = text_of(asked(places.model()));
    EXPECT_TRUE(text.starts_with("e2e4 e7e5")) << text;
    EXPECT_GT(text.size(), std::string("e2e4 e7e5\n").size());
    EXPECT_EQ(text, text_of(asked(places.run())));
    EXPECT_EQ(text, text_of(asked(places.step(1))));
  }
}

/// What a model must write whose logits are all equal: every piece is as likely, so the draw alone chooses.
std::string drawn_text(const Tokenizer& tokenizer, const GenerateConfig& config, int& stopped) {
  std::string all;
  for (std::int64_t index = 0; index < config.count; ++index) {
    const Random random(static_cast<std::uint64_t>(config.seed), Purpose::sample, static_cast<std::uint64_t>(index));
    std::vector<int> tokens = tokenizer.encode(config.prompt);
    const std::int64_t among = config.top_k > 0 ? config.top_k : tokenizer.pieces();
    for (std::int64_t i = 0; i < config.max_new_tokens; ++i) {
      const int token = static_cast<int>(random.uniform(static_cast<std::uint64_t>(i)) * static_cast<double>(among));
      if (token == tokenizer.eos_id()) {
        ++stopped;
        break;
      }
      tokens.push_back(token);
    }
    all += tokenizer.decode(tokens) + "\n";
  }
  return all;
}

TEST(Generate, DrawsBySeedAndContinuationAndStopsAtEos) {
  const Places places("gqa", "model.norm.weight");  // a final norm of zero
  const Tokenizer tokenizer((places.run() / "tokenizer.model").string());
  ASSERT_LT(tokenizer.pieces(), places.config().vocab_size) << "rows beyond the pieces must never be drawn";
  GenerateConfig config = asked(places.run());
  config.temperature = 0.7;
  config.count = 6;
  config.max_new_tokens = 60;
  int stopped = 0;
  EXPECT_EQ(text_of(config), drawn_text(tokenizer, config, stopped));
  EXPECT_GT(stopped, 0);
  EXPECT_LT(stopped, config.count);
  config.seed = 43;
  config.top_k = 40;
  EXPECT_EQ(text_of(config), drawn_text(tokenizer, config, stopped));
}

TEST(Generate, ContinuationsDoNotDependOnOneAnother) {
  const Places places("mha");
  GenerateConfig config = asked(places.model());
  config.temperature = 1;
  const std::string first = text_of(config);
  config.count = 3;
  const std::string three = text_of(config);
  EXPECT_TRUE(three.starts_with(first)) << three;
  EXPECT_EQ(std::count(three.begin(), three.end(), '\n'), 3);
  config.temperature = 0;
  const std::string likeliest = text_of(config);
  config.count = 1;
  const std::string once = text_of(config);
  EXPECT_EQ(likeliest, once + once + once);
}

TEST(Generate, AnEmptyPromptBeginsADocument) {
  const Places places("mha");
  EXPECT_GT(text_of(asked(places.model(), "")).size(), 1u);
}

TEST(Generate, EndsWhereTheModelsPositionsEnd) {
  const Places places("gqa", "model.norm.weight");
  GenerateConfig config = asked(places.run());
  config.max_new_tokens = 100'000;
  Captured captured;
  generate(config);
  const Tokenizer tokenizer((places.run() / "tokenizer.model").string());
  const std::int64_t room = 128 - 1 - std::ssize(tokenizer.encode(config.prompt));  // bos comes first
  const std::string told = captured.err();
  EXPECT_NE(told.find(fmt::format("continuations end after {} tokens", room)), std::string::npos) << told;
  EXPECT_NE(told.find(fmt::format("{} tokens added", room)), std::string::npos) << told;
}

TEST(Generate, RefusesWhatDoesNotBelongTogether) {
  const Places places("odd");  // 101 rows, 128 positions
  std::string games;
  for (int i = 0; i < 200; ++i) games += "b8c6 ";
  EXPECT_BAD_INPUT(generate(asked(places.model(), games)), "shorten the prompt");
  GenerateConfig config = asked(places.model());
  config.tokenizer = places.at("large.model").string();
  train_test_tokenizer(config.tokenizer, 300);
  EXPECT_BAD_INPUT(generate(config), "pieces and the model has rows for 101");
  fs::remove(places.run() / "tokenizer.model");
  EXPECT_BAD_INPUT(generate(asked(places.step(1))), "name the one the model was trained with by --tokenizer");
  EXPECT_BAD_INPUT(generate(asked(places.at("absent"))), "No such file or directory; a file or directory is expected");
}

}  // namespace
}  // namespace sherd::app
