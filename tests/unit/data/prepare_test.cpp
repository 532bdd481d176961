#include "sherd/data/prepare.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chess_text.hpp"
#include "corpus_files.hpp"
#include "sherd/data/tokenizer.hpp"

namespace sherd {
namespace {

using test::message_of;
using testing::AllOf;
using testing::HasSubstr;

class Prepare : public testing::Test {
 protected:
  Prepare() {
    config_.inputs = {directory_ / "games.jsonl"};
    config_.output = directory_ / "corpus.h5";
    config_.tokenizer = directory_ / "tokenizer.model";
    config_.train_tokenizer = 400;
    config_.threads = 2;
  }
  PrepareReport run() { return prepare(config_, *self_exchange()); }
  std::string complaint(ExitCode code) {
    const std::string message = message_of(code, [&] { run(); });
    EXPECT_FALSE(std::filesystem::exists(config_.output));
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos) << entry.path() << " was left behind";
    }
    return message;
  }
  void write_games(const std::string& name, std::uint64_t first, std::uint64_t count) {
    std::string lines;
    for (std::uint64_t i = first; i < first + count; ++i) lines += "{\"text\": \"" + test::game(i) + "\"}\n";
    test::write_text(directory_ / name, lines);
  }
  std::vector<std::string> documents() {
    const Corpus corpus(config_.output);
    const Tokenizer tokenizer(config_.tokenizer);
    corpus.verify_tokens();
    std::vector<std::string> texts;
    corpus.for_each_document([&](const Document& document) {
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(document.tokens));
      corpus.read_tokens(document.first_token, tokens);
      texts.push_back(tokenizer.decode(tokens));
    });
    return texts;
  }
  test::TemporaryDirectory directory_;
  PrepareConfig config_;
};

TEST_F(Prepare, KeepsEveryDocumentInOrder) {
  write_games("games.jsonl", 0, 1000);
  const PrepareReport report = run();
  EXPECT_EQ(report.documents, 1000);
  EXPECT_EQ(report.bad_lines, 0);
  EXPECT_EQ(documents(), test::games(1000));
  const Corpus corpus(config_.output);
  const Tokenizer tokenizer(config_.tokenizer);
  corpus.require_tokenizer(tokenizer.sha256(), config_.tokenizer);
  EXPECT_EQ(corpus.info().tokens, report.tokens);
  EXPECT_EQ(corpus.info().source, "games.jsonl");
  EXPECT_NEAR(static_cast<double>(report.held_out), 20, 15);
}

TEST_F(Prepare, AByteOrderMarkIsInNeitherTheTokenizersTextNorTheCorpus) {
  std::string lines = "\xEF\xBB\xBF";
  for (const std::string& game : test::games(200)) lines += "{\"text\": \"" + game + "\"}\r\n";
  test::write_text(directory_ / "games.jsonl", lines);
  run();
  EXPECT_EQ(documents(), test::games(200));
}

TEST_F(Prepare, AddsBosAndEosAsAsked) {
  write_games("games.jsonl", 0, 30);
  const auto first_document = [&] {
    run();
    std::vector<std::int32_t> tokens;
    const Corpus corpus(config_.output);
    corpus.for_each_document([&](const Document& document) {
      if (document.index > 0) return;
      tokens.resize(static_cast<std::size_t>(document.tokens));
      corpus.read_tokens(0, tokens);
    });
    return tokens;
  };
  std::vector<std::int32_t> both = first_document();
  config_.train_tokenizer = 0;
  EXPECT_EQ(both.front(), 1);
  EXPECT_EQ(both.back(), 2);
  both.pop_back();
  config_.add_eos = false;
  EXPECT_EQ(first_document(), both);
  both.erase(both.begin());
  config_.add_bos = false;
  EXPECT_EQ(first_document(), both);
}

TEST_F(Prepare, IsTheSameForAnyNumberOfThreadsAndAgain) {
  write_games("games.jsonl", 0, 1500);  // several blocks
  config_.threads = 1;
  run();
  const std::string one = test::read_bytes(config_.output);
  config_.threads = 5;
  config_.train_tokenizer = 0;
  run();
  EXPECT_TRUE(test::read_bytes(config_.output) == one);
}

TEST_F(Prepare, ReadsPlainTextAndSeveralFiles) {
  write_games("games.jsonl", 0, 5);
  test::write_text(directory_ / "more.txt", "\xEF\xBB\xBF" + test::game(5) + "\r\n\n   \n" + test::game(6));
  config_.inputs.push_back(directory_ / "more.txt");
  EXPECT_EQ(run().documents, 7);
  EXPECT_EQ(documents(), test::games(7));
}

TEST_F(Prepare, StopsAtABrokenLineNamingFileAndNumber) {
  write_games("games.jsonl", 0, 2000);
  std::string lines = test::read_bytes(config_.inputs[0]);
  std::size_t at = 0;
  for (int line = 1; line < 1500; ++line) at = lines.find('\n', at) + 1;
  lines.erase(at, 1);  // the brace of line 1500
  test::write_text(config_.inputs[0], lines);
  EXPECT_THAT(complaint(ExitCode::bad_input), AllOf(HasSubstr("games.jsonl:1500:"), HasSubstr("--skip-bad-lines")));
  write_games("good.jsonl", 0, 50);
  const std::string bad = config_.inputs[0];
  config_.inputs = {directory_ / "good.jsonl"};
  run();  // leaves a tokenizer
  std::filesystem::remove(config_.output);
  config_.inputs.push_back(bad);
  config_.train_tokenizer = 0;
  EXPECT_THAT(complaint(ExitCode::bad_input), HasSubstr("games.jsonl:1500:"));
  config_.skip_bad_lines = true;
  const PrepareReport report = run();
  EXPECT_EQ(report.bad_lines, 1);
  EXPECT_EQ(report.documents, 2049);
}

TEST_F(Prepare, NamesTheFirstOfSeveralBrokenLinesWhateverTheThreads) {
  write_games("good.jsonl", 0, 50);
  config_.inputs = {directory_ / "good.jsonl"};
  run();
  std::filesystem::remove(config_.output);
  config_.train_tokenizer = 0;
  std::string lines;
  for (int i = 0; i < 8000; ++i)
    lines += i >= 4000 && i % 50 == 0 ? "broken\n" : "{\"text\": \"e2e4 e7e5 e2e4 e7e5 e2e4 e7e5 e2e4 e7e5\"}\n";
  test::write_text(directory_ / "games.jsonl", lines);
  config_.inputs = {directory_ / "games.jsonl"};
  config_.threads = 4;
  for (int i = 0; i < 5; ++i) EXPECT_THAT(complaint(ExitCode::bad_input), HasSubstr("games.jsonl:4001:"));
}

TEST_F(Prepare, RefusesAnEmptyCorpus) {
  write_games("games.jsonl", 0, 50);
  run();
  std::filesystem::remove(config_.output);
  config_.train_tokenizer = 0;
  for (const char* lines : {"", "\n\n", "{\"text\": \"\"}\n"}) {
    test::write_text(config_.inputs[0], lines);
    EXPECT_THAT(complaint(ExitCode::bad_input), HasSubstr("no document in games.jsonl"));
  }
  config_.train_tokenizer = 400;
  EXPECT_THAT(complaint(ExitCode::bad_input), HasSubstr("no text"));
}

TEST_F(Prepare, RefusesWhatCannotWork) {
  write_games("games.jsonl", 0, 5);
  const PrepareConfig good = config_;
  config_.inputs.clear();
  EXPECT_THAT(complaint(ExitCode::usage), HasSubstr("no input files"));
  config_ = good;
  config_.tokenizer.clear();
  EXPECT_THAT(complaint(ExitCode::usage), HasSubstr("--tokenizer"));
  config_ = good;
  config_.eval_fraction = 1;
  EXPECT_THAT(complaint(ExitCode::usage), HasSubstr("--eval-fraction"));
  config_ = good;
  config_.threads = -1;
  EXPECT_THAT(complaint(ExitCode::usage), HasSubstr("--threads"));
  config_ = good;
  config_.train_tokenizer = 0;
  EXPECT_THAT(complaint(ExitCode::bad_input), HasSubstr("tokenizer.model"));
  config_ = good;
  config_.output = directory_ / "games.jsonl/corpus.h5";
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { run(); }), HasSubstr("cannot create the directory"));
}

}  // namespace
}  // namespace sherd
