#include "sherd/data/text_lines.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "corpus_files.hpp"
#include "sherd/base/rng.hpp"

namespace sherd {
namespace {

using nlohmann::json;
using test::message_of;
using testing::HasSubstr;

/// What nlohmann's parser makes of a line: the text, or null where we must complain.
json reference(const std::string& line) {
  const json object = json::parse(line, nullptr, false);
  if (object.is_discarded() || !object.is_object() || !object.contains("text")) return nullptr;
  return object["text"].is_string() ? object["text"] : json(nullptr);
}

void expect_as_reference(const std::string& line) {
  std::string document;
  const char* complaint = parse_line(TextFormat::jsonl, line, document);
  const json expected = reference(line);
  ASSERT_EQ(complaint == nullptr, expected.is_string()) << line << "\n"
                                                        << (complaint != nullptr ? complaint : "accepted");
  if (complaint != nullptr) return;
  ASSERT_EQ(document, expected.get<std::string>()) << line;
}

TEST(JsonLine, HandCases) {
  const std::vector<std::pair<std::string, std::string>> good{
      {R"({"text": "e2e4 e7e5 1-0"})", "e2e4 e7e5 1-0"},
      {R"( { "a" : [1, -2.5e+3, {"text": "no"}, null, true] , "text":"\"\\\/\b\f\n\r\t" , "z":false } )",
       "\"\\/\b\f\n\r\t"},
      {R"({"text":"\u0041\u00e9\u20AC\ud83D\uDE00"})", "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
      {"{\"text\":\"caf\xC3\xA9\"}", "caf\xC3\xA9"},
      {R"({"text":""})", ""},
  };
  for (const auto& [line, expected] : good) {
    std::string document = "left over";
    EXPECT_EQ(parse_line(TextFormat::jsonl, line, document), nullptr) << line;
    EXPECT_EQ(document, expected);
    expect_as_reference(line);
  }
  for (const char* line : {"",
                           "e2e4",
                           "[]",
                           "{",
                           "{}",
                           R"({"text":1})",
                           R"({"text":null})",
                           R"({"other":"x"})",
                           R"({"text":"x"}})",
                           R"({"text":"x")",
                           R"({"text":"x)",
                           R"({"text":"x",})",
                           R"({"text":"\x"})",
                           R"({"text":"\ud800"})",
                           R"({"text":"\udc00x"})",
                           R"({"text":"\ud800\u0041"})",
                           R"({"text":"\u12"})",
                           "{\"text\":\"a\tb\"}",
                           "{\"text\":\"\xFF\"}",
                           "{\"text\":\"\xC0\x80\"}",
                           "{\"text\":\"\xED\xA0\x80\"}",
                           R"({"n":01,"text":"x"})",
                           R"({"n":1.,"text":"x"})",
                           R"({"n":.5,"text":"x"})",
                           R"({"n":tru,"text":"x"})",
                           R"({text:"x"})",
                           R"({"text":"x" "b":1})",
                           R"({"n":[1,],"text":"x"})",
                           R"({"n":+1,"text":"x"})",
                           R"({"n":1e,"text":"x"})"}) {
    std::string document;
    EXPECT_NE(parse_line(TextFormat::jsonl, line, document), nullptr) << line;
    expect_as_reference(line);
  }
}

TEST(JsonLine, RefusesASecondTextAndDeepNesting) {
  std::string document;
  EXPECT_STREQ(parse_line(TextFormat::jsonl, R"({"text":"a","text":"b"})", document),
               "the field \"text\" occurs twice");
  const std::string deep = std::string("{\"a\":").append(100000, '[');
  EXPECT_STREQ(parse_line(TextFormat::jsonl, deep, document), "nested more than 64 deep");
}

TEST(JsonLine, AgreesWithAnotherParserOnDamagedLines) {
  const std::string line = R"({"id":[1,-2.5e+3,{"k":null}],"text":"a\u00e9\ud83d\ude00 \"b\" \\ )"
                           "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"
                           R"(","ok":true})";
  expect_as_reference(line);
  const std::string bytes = "\"\\{}[],:0123456789abcdefutrn-+.eE \t\xC3\xA9\xE2\xED\xF0\xF4\x80\x9F\xBF\xFF\x01";
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const Random random(11, Purpose::test, i);
    std::string damaged = line;
    for (std::uint64_t change = 0; change <= random.bits(0) % 3; ++change) {
      const std::size_t at = random.bits(3 * change + 1) % damaged.size();
      const char byte = bytes[random.bits(3 * change + 2) % bytes.size()];
      switch (random.bits(3 * change + 3) % 3) {
        case 0:
          damaged[at] = byte;
          break;
        case 1:
          damaged.insert(at, 1, byte);
          break;
        default:
          damaged.erase(at, 1);
      }
    }
    ASSERT_NO_FATAL_FAILURE(expect_as_reference(damaged));
  }
}

TEST(JsonLine, AgreesWithAnotherWriterOnRandomText) {
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Random random(12, Purpose::test, i);
    std::string text;
    for (std::uint64_t k = 0; k < random.bits(0) % 40; ++k) {
      const std::uint64_t draw = random.bits(k + 1);
      if (draw % 3 != 0)
        text += static_cast<char>(draw / 3 % 0x80);
      else
        text += std::vector<const char*>{"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xEF\xBF\xBF"}[draw / 3 % 4];
    }
    const json object{{"text", text}, {"n", 3}};
    for (const bool ascii : {false, true}) {
      std::string document;
      ASSERT_EQ(parse_line(TextFormat::jsonl, object.dump(-1, ' ', ascii), document), nullptr);
      ASSERT_EQ(document, text);
    }
  }
}

TEST(PlainLine, MustBeUtf8) {
  std::string document;
  EXPECT_EQ(parse_line(TextFormat::text, "caf\xC3\xA9", document), nullptr);
  EXPECT_EQ(document, "caf\xC3\xA9");
  EXPECT_STREQ(parse_line(TextFormat::text, "caf\xE9", document), "not UTF-8");
}

TEST(TextFormatOf, ComesFromTheFlagOrTheName) {
  EXPECT_EQ(text_format("auto", "a.jsonl"), TextFormat::jsonl);
  EXPECT_EQ(text_format("auto", "a.txt"), TextFormat::text);
  EXPECT_EQ(text_format("text", "a.jsonl"), TextFormat::text);
  EXPECT_THAT(message_of(ExitCode::usage, [] { text_format("auto", "a.dat"); }), HasSubstr("--format"));
  EXPECT_THAT(message_of(ExitCode::usage, [] { text_format("csv", "a.txt"); }), HasSubstr("csv"));
}

class Lines : public testing::Test {
 protected:
  /// All lines that `ranks` readers see together, in order, each with its file and offset.
  std::vector<std::string> read(const std::vector<InputFile>& files, std::int64_t ranks, std::int64_t block_bytes) {
    std::int64_t total = 0;
    for (const InputFile& file : files) total += file.bytes;
    std::vector<std::string> lines;
    for (std::int64_t r = 0; r < ranks; ++r) {
      LineBlocks blocks(files, total * r / ranks, total * (r + 1) / ranks, block_bytes);
      for (LineBlock block; blocks.next(block);) {
        std::istringstream text(block.text);
        std::int64_t offset = block.offset;
        for (std::string line; std::getline(text, line);) {
          lines.push_back(block.file->path + ":" + std::to_string(offset) + ":" + line);
          offset += static_cast<std::int64_t>(line.size()) + 1;
        }
      }
    }
    return lines;
  }
  test::TemporaryDirectory directory_;
};

TEST_F(Lines, AreSeenOnceByAnyNumberOfReadersAndAnyBlockSize) {
  std::vector<std::string> paths, expected;
  const std::vector<std::string> contents{"",          "one\n\nthree is longer\nx",    "\n", "alone",
                                          "a\nb\nc\n", std::string(300, 'y') + "\nz\n"};
  for (std::size_t f = 0; f < contents.size(); ++f) {
    paths.push_back(directory_ / (std::to_string(f) + ".txt"));
    test::write_text(paths[f], contents[f]);
    std::size_t begin = 0;
    while (begin < contents[f].size()) {
      const std::size_t end = std::min(contents[f].find('\n', begin), contents[f].size());
      expected.push_back(paths[f] + ":" + std::to_string(begin) + ":" + contents[f].substr(begin, end - begin));
      begin = end + 1;
    }
  }
  const std::vector<InputFile> files = open_inputs(paths, "auto");
  for (std::int64_t ranks = 1; ranks <= 9; ++ranks) {
    for (const std::int64_t block : {1, 2, 3, 7, 64, 100000})
      EXPECT_EQ(read(files, ranks, block), expected) << ranks << " " << block;
  }
  EXPECT_EQ(read(files, 1000, 5), expected);  // more readers than bytes
}

TEST_F(Lines, HaveNumbers) {
  const std::string path = directory_ / "a.txt";
  test::write_text(path, "one\ntwo\n\nfour");
  EXPECT_EQ(line_number(path, 0), 1);
  EXPECT_EQ(line_number(path, 4), 2);
  EXPECT_EQ(line_number(path, 9), 4);
}

TEST_F(Lines, RefusesALineWithoutEnd) {
  const std::string path = directory_ / "a.txt";
  test::write_text(path, std::string("short\n").append(std::size_t{17} << 20, 'x'));
  const std::vector<InputFile> files = open_inputs(std::vector<std::string>{path}, "auto");
  LineBlocks blocks(files, 0, files[0].bytes, 1 << 18);
  EXPECT_THAT(message_of(ExitCode::bad_input,
                         [&] {
                           for (LineBlock block; blocks.next(block);) {
                           }
                         }),
              HasSubstr("a.txt:2"));
}

TEST_F(Lines, RefusesAMissingInput) {
  EXPECT_THAT(
      message_of(ExitCode::bad_input, [&] { open_inputs(std::vector<std::string>{directory_ / "no.txt"}, "auto"); }),
      HasSubstr("no.txt"));
}

}  // namespace
}  // namespace sherd
