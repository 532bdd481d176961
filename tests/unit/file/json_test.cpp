#include "sherd/file/json.hpp"

#include <gtest/gtest.h>

#include "sherd/file/posix.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

TEST(Json, ReadsEveryKind) {
  const JsonDocument doc = JsonDocument::parse(R"({"i":-7,"d":0.5,"s":"a\"b","b":true,"n":null,"a":[1,[2]]})", "x");
  const JsonValue root = doc.root();
  EXPECT_EQ(root.at("i").integer(), -7);
  EXPECT_EQ(root.at("i").number(), -7.0);
  EXPECT_EQ(root.at("d").number(), 0.5);
  EXPECT_EQ(root.at("s").string(), "a\"b");
  EXPECT_TRUE(root.at("b").boolean());
  EXPECT_TRUE(root.at("n").is_null());
  EXPECT_EQ(root.at("a").at(1).at(0).integer(), 2);
  EXPECT_FALSE(root.has("z"));
  EXPECT_EQ(root.keys(), (std::vector<std::string>{"a", "b", "d", "i", "n", "s"}));
  EXPECT_EQ(root.at("a").dump(), "[1,[2]]");
}

TEST(Json, SaysWhereItIsWrong) {
  const JsonDocument doc = JsonDocument::parse(R"({"a":{"b":[1,"x",18446744073709551615,1.5]}})", "c.json");
  const JsonValue list = doc.root().at("a").at("b");
  EXPECT_BAD_INPUT(list.at(1).integer(), "c.json: a.b[1]: expected an integer, found \"x\"");
  EXPECT_BAD_INPUT(list.at(0).integer(2, 5), "c.json: a.b[0]: 1 is outside of [2, 5]");
  EXPECT_BAD_INPUT(list.at(2).integer(), "expected an integer");
  EXPECT_BAD_INPUT(list.at(3).integer(), "expected an integer");
  EXPECT_BAD_INPUT(list.at(4), "number 4 is missing");
  EXPECT_BAD_INPUT(list.at("k"), "expected an object");
  EXPECT_BAD_INPUT(doc.root().at("a").at("z"), "c.json: a: the key \"z\" is missing");
  EXPECT_BAD_INPUT(list.string(), "expected a string");
  EXPECT_BAD_INPUT(list.boolean(), "expected true or false");
  EXPECT_BAD_INPUT(list.at(0).size(), "expected an array or an object");
}

TEST(Json, RefusesWhatParsersDisagreeOn) {
  EXPECT_BAD_INPUT(JsonDocument::parse(R"({"a":1,"a":2})", "x"), "\"a\" appears twice");
  EXPECT_BAD_INPUT(JsonDocument::parse(R"([{"b":{"a":1,"a":2}}])", "x"), "\"a\" appears twice");
  EXPECT_NO_THROW(JsonDocument::parse(R"([{"a":1},{"a":2}])", "x"));
  EXPECT_NO_THROW(JsonDocument::parse(R"({"a":{"a":1},"b":{"a":2}})", "x"));
  EXPECT_BAD_INPUT(JsonDocument::parse("{} {}", "x"), "not valid JSON");
  EXPECT_BAD_INPUT(JsonDocument::parse("", "x"), "not valid JSON");
  EXPECT_BAD_INPUT(JsonDocument::parse("{\"a\":\"\xff\"}", "x"), "not valid JSON");
  EXPECT_BAD_INPUT(JsonDocument::parse("{\"a\":NaN}", "x"), "not valid JSON");
  EXPECT_BAD_INPUT(JsonDocument::parse(std::string(100000, '['), "x"), "nested deeper");
}

TEST(Json, LimitsFiles) {
  const TemporaryDirectory dir;
  File::create(dir / "j").pwrite_all("[1,2]", 0);
  EXPECT_EQ(JsonDocument::load(dir / "j").root().size(), 2u);
  EXPECT_BAD_INPUT(JsonDocument::load(dir / "j", 4), "5 bytes; at most 4");
}

TEST(Json, Quotes) {
  EXPECT_EQ(json_quote("a\"\\\n"), R"("a\"\\\n")");
  EXPECT_BAD_INPUT(json_quote("\xff"), "not UTF-8");
}

}  // namespace
}  // namespace sherd
