#include "sherd/data/tokenizer.hpp"
#include "sherd/file/digest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chess_text.hpp"
#include "corpus_files.hpp"

namespace sherd {
namespace {

using test::message_of;
using testing::AllOf;
using testing::HasSubstr;

class TokenizerFile : public testing::Test {
 protected:
  void train(std::vector<std::string> texts, std::int64_t vocab_size) {
    std::size_t next = 0;
    const auto source = [&](std::string& text) {
      if (next == texts.size()) return false;
      text = texts[next++];
      return true;
    };
    train_tokenizer(source, vocab_size, path_);
  }
  test::TemporaryDirectory directory_;
  std::string path_ = directory_ / "tokenizer.model";
};

TEST_F(TokenizerFile, MovesBecomeWholePieces) {
  const std::vector<std::string> games = test::games(600);
  train(games, 2400);
  const Tokenizer tokenizer(path_);
  EXPECT_LE(tokenizer.pieces(), 2400);
  EXPECT_EQ(tokenizer.piece(0), "<unk>");
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  std::size_t tokens = 0, words = 0;
  for (const std::string& game : games) {
    tokens += tokenizer.encode(game).size();
    words += static_cast<std::size_t>(std::count(game.begin(), game.end(), ' ')) + 1;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(game)), game);
  }
  EXPECT_LT(static_cast<double>(tokens) / static_cast<double>(words), 1.05);
}

TEST_F(TokenizerFile, TrainingIsDeterministicAndTheShaIsThatOfTheFile) {
  train(test::games(50), 400);
  const Tokenizer first(path_);
  const std::string bytes = test::read_bytes(path_);
  EXPECT_EQ(first.sha256(), sha256_hex(bytes));
  train(test::games(50), 400);
  EXPECT_EQ(test::read_bytes(path_), bytes);
}

TEST_F(TokenizerFile, UnseenCharactersBecomeBytesWhenTheVocabularyHasRoom) {
  train(test::games(100), 600);
  const Tokenizer with_bytes(path_);
  EXPECT_EQ(with_bytes.decode(with_bytes.encode("e2e4 caf\xC3\xA9 \xE2\x99\x9E")), "e2e4 caf\xC3\xA9 \xE2\x99\x9E");
  train(test::games(100), 200);
  const Tokenizer without(path_);
  EXPECT_THAT(without.encode("\xE2\x99\x9E"), testing::Contains(0));  // unk
}

TEST_F(TokenizerFile, LongTextsAreEncodedInSegmentsWithTheSamePieces) {
  const std::vector<std::string> games = test::games(300);
  train(games, 500);
  const Tokenizer tokenizer(path_);
  std::string all;
  std::vector<int> expected;
  for (const std::string& game : games) {
    all += (all.empty() ? "" : " ") + game;
    tokenizer.encode(game, expected);
  }
  ASSERT_GT(all.size(), std::size_t{130} << 10);  // three segments
  EXPECT_EQ(tokenizer.encode(all), expected);
  const std::string unbroken(200000, 'e');
  EXPECT_EQ(tokenizer.encode(unbroken).empty(), false);
  std::string accents;
  for (int i = 0; i < 50000; ++i) accents += "\xC3\xA9";  // no space to cut at: between characters
  for (const int id : tokenizer.encode(accents)) ASSERT_NE(id, 0);
}

TEST_F(TokenizerFile, RefusesAVocabularyThatIsTooSmallAndAnEmptyText) {
  EXPECT_THAT(message_of(ExitCode::usage, [&] { train(test::games(10), 10); }), HasSubstr("at least"));
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { train({}, 100); }), HasSubstr("no text"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(TokenizerFile, AVocabularyTheTextCannotFillGivesASmallerTokenizer) {
  train({"e2e4 e7e5 1-0"}, 5000);
  const Tokenizer tokenizer(path_);
  EXPECT_LT(tokenizer.pieces(), 400);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("e2e4 e7e5 1-0")), "e2e4 e7e5 1-0");
}

TEST_F(TokenizerFile, RefusesFilesThatAreNoModelAndSaysWhatTheyLookLike) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "empty"},
      {"<!DOCTYPE html><html>404</html>", "HTML"},
      {"IQ== 0\nIg== 1\nIw== 2\n", "tiktoken"},
      {R"({"version": "1.0", "model": {"type": "BPE"}})", "JSON"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"},
      {std::string(1000, '\xFF'), "damaged"},
  };
  for (const auto& [bytes, expected] : cases) {
    test::write_text(path_, bytes);
    EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Tokenizer tokenizer(path_); }),
                AllOf(HasSubstr(path_), HasSubstr(expected)));
  }
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Tokenizer tokenizer(path_ + ".missing"); }), HasSubstr("missing"));
}

TEST_F(TokenizerFile, RefusesATruncatedModelOfAnyLength) {
  train(test::games(20), 100);
  const std::string whole = test::read_bytes(path_);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(check_tokenizer_model(std::string_view(whole).substr(0, size), path_), Error) << size;
  }
  check_tokenizer_model(whole, path_);
}

TEST_F(TokenizerFile, RefusesAFileTooLargeToBeOne) {
  test::write_text(path_, "x");
  std::filesystem::resize_file(path_, std::uintmax_t{65} << 20);
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Tokenizer tokenizer(path_); }), HasSubstr("68157440 bytes"));
}

TEST_F(TokenizerFile, RefusesCharacterMapsThatLeadOutside) {
  // A model of one piece "a", an empty trainer and a normaliser (field 3) whose field 2 is a character map of 1 KiB of
  // trie and one string.
  const auto model = [](std::uint32_t first_unit, std::uint32_t trie_bytes) {
    std::string map(4 + 1024 + 2, '\0');
    std::memcpy(map.data(), &trie_bytes, 4);
    std::memcpy(map.data() + 4, &first_unit, 4);
    const auto size = [](std::size_t n) {
      return std::string{static_cast<char>(n % 128 + 128), static_cast<char>(n / 128)};
    };
    const std::string normalizer = "\x12" + size(map.size()) + map;
    return "\x0A\x03\x0A\x01"
           "a\x12" +
           std::string(1, '\0') + "\x1A" + size(normalizer.size()) + normalizer;
  };
  check_tokenizer_model(model(0, 1024), path_);
  EXPECT_THROW(check_tokenizer_model(model(0, 4096), path_), Error);            // the trie ends after the map
  EXPECT_THROW(check_tokenizer_model(model(256u << 10, 1024), path_), Error);   // an offset of 256 units
  EXPECT_THROW(check_tokenizer_model(model(0x80000002u, 1024), path_), Error);  // a leaf beyond the strings
}

TEST_F(TokenizerFile, RefusesAModelWithFewerRowsAndUnknownIds) {
  train(test::games(20), 100);
  const Tokenizer tokenizer(path_);
  tokenizer.require_vocab(tokenizer.pieces());
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { tokenizer.require_vocab(tokenizer.pieces() - 1); }),
              AllOf(HasSubstr("100 pieces"), HasSubstr("99")));
  EXPECT_THAT(message_of(ExitCode::bad_input,
                         [&] {
                           tokenizer.decode(std::vector<int>{5, 100});
                         }),
              HasSubstr("token 100"));
}

}  // namespace
}  // namespace sherd
