#include "toml.hpp"

#include "thrown.hpp"

namespace sherd::config {
namespace {

using Kind = TomlSetting::Kind;

TEST(Toml, ReadsEveryKindOfValue) {
  const auto settings = parse_toml(
      "# a comment\n\nmodel = \"a # b\" # behind\nseed=1_000\r\n  learning_rate = 1e-5\npacking = false\n"
      "prompt = 'C:\\x'\noutput = \"a\\t\\\"b\\\\\"\ninput = [\"a\", 'b',]\n",
      "run.toml");
  ASSERT_EQ(settings.size(), 7u);
  EXPECT_EQ(settings[0].key, "model");
  EXPECT_EQ(settings[0].values, std::vector<std::string>{"a # b"});
  EXPECT_EQ(settings[0].line, 3);
  EXPECT_EQ(settings[1].values, std::vector<std::string>{"1000"});
  EXPECT_EQ(settings[1].kind, Kind::number);
  EXPECT_EQ(settings[2].key, "learning-rate");
  EXPECT_EQ(settings[2].values, std::vector<std::string>{"1e-5"});
  EXPECT_EQ(settings[3].kind, Kind::boolean);
  EXPECT_EQ(settings[4].values, std::vector<std::string>{"C:\\x"});
  EXPECT_EQ(settings[5].values, std::vector<std::string>{"a\t\"b\\"});
  EXPECT_EQ(settings[6].kind, Kind::texts);
  EXPECT_EQ(settings[6].values, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(parse_toml("", "run.toml").empty());
}

TEST(Toml, ErrorsNameFileAndLine) {
  const auto refuses = [](const std::string& text, const std::string& part) {
    EXPECT_THROWS(parse_toml("seed = 1\n" + text, "run.toml"), ExitCode::usage, part);
    EXPECT_THROWS(parse_toml("seed = 1\n" + text, "run.toml"), ExitCode::usage, "run.toml:2: ");
  };
  refuses("[train]", "a [table]");
  refuses("seed = 2", "seed is set a second time");
  refuses("model", "key = value is expected");
  refuses("= 3", "key = value is expected");
  refuses("a.b = 3", "key = value is expected");
  refuses("model = llama", "model = llama; a number, true, false, or a text");
  refuses("model =", "model = nothing");
  refuses("model = \"llama", "no closing \"");
  refuses("model = \"llama\\", "no closing \"");
  refuses("model = \"a\\q\"", "\\q in a text");
  refuses("model = \"a\" \"b\"", "something follows the value of model");
  refuses("input = [1]", "a list is");
  refuses("input = [\"a\" \"b\"]", "a comma or ]");
  refuses("input = [\"a\",", "a list is");
  refuses("x = inf", "x = inf");
}

TEST(Toml, AMissingFileIsNamed) {
  EXPECT_THROWS(read_toml("absent.toml"), ExitCode::usage, "absent.toml: No such file");
}

}  // namespace
}  // namespace sherd::config
