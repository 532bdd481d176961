#include "sherd/config/echo.hpp"

#include <algorithm>
#include <set>

#include "sherd/config/fields.hpp"
#include "thrown.hpp"

namespace sherd {
namespace {

std::string other_choice(const Field& field) {
  return field.choices.front() == value_text(field) ? field.choices.back() : field.choices.front();
}

// Every field another value than the default, by its type.
TrainConfig all_changed() {
  TrainConfig c;
  double x = 0.125;
  std::int64_t n = 1007;
  for (const Field& field : fields_of(c)) {
    if (auto* const* s = std::get_if<std::string*>(&field.target)) {
      **s = field.choices.empty() ? "a \"b\" \\ \n" + field.name : other_choice(field);
    } else if (auto* const* i = std::get_if<std::int64_t*>(&field.target)) {
      **i = std::min(n++, static_cast<std::int64_t>(field.range.most));
    } else if (auto* const* d = std::get_if<double*>(&field.target)) {
      **d = x += 1.0 / 3 / 64;
    } else {
      auto* flag = std::get<bool*>(field.target);
      *flag = !*flag;
    }
  }
  return c;
}

TEST(Echo, ComesBackBitForBit) {
  for (const TrainConfig& c : {TrainConfig{}, all_changed()}) {
    const TrainConfig back = train_config_from_json(to_json(c), "manifest.json");
    EXPECT_EQ(to_json(back), to_json(c));
    EXPECT_EQ(back.learning_rate, c.learning_rate);
    EXPECT_EQ(back.model, c.model);
    EXPECT_EQ(back.seed, c.seed);
    EXPECT_EQ(back.packing, c.packing);
  }
}

TEST(Echo, EveryFieldShows) {
  TrainConfig a, b = all_changed();
  const std::vector<std::string> lines = differing_fields(to_json(a), to_json(b));
  std::set<std::string> named;
  for (const std::string& line : lines) named.insert(line.substr(0, line.find(':')));
  for (const Field& field : fields_of(a)) {
    EXPECT_EQ(named.count(field.name), 1u) << field.name;
  }
  EXPECT_TRUE(differing_fields(to_json(b), to_json(b)).empty());
}

TEST(Echo, NamesWhatDiffers) {
  TrainConfig a, b;
  b.seed = 43;
  EXPECT_EQ(differing_fields(to_json(a), to_json(b)), std::vector<std::string>{"seed: 42 and 43"});
}

TEST(Echo, IsPlainJson) {
  const std::string text = to_json(TrainConfig{});
  for (const char* part : {"\"learning-rate\": 1e-05", "\"packing\": true", "\"dtype\": \"bf16\"", "\"seed\": 42",
                           "\"num-epochs\": 1.0"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << text;
  }
}

TEST(Echo, RefusesWhatItDidNotWrite) {
  const auto refuses = [](const std::string& text, const std::string& part) {
    EXPECT_THROWS(train_config_from_json(text, "manifest.json"), ExitCode::bad_input, part);
  };
  refuses("{\"sed\": 1}", "manifest.json: there is no sed; did you mean seed?");
  refuses("{\"seed\": \"1\"}", "manifest.json: seed is \"1\"; an integer");
  refuses("{\"seed\": -1}", "manifest.json: seed is \"-1\"; an integer from 0");
  refuses("{\"seed\": 1, \"seed\": 2}", "appears twice");
  refuses("{\"model\": 7}", "model is 7; a text is expected");
  refuses("{\"packing\": 1}", "packing is 1; true or false is expected");
  refuses("{\"sharding\": \"zero9\"}", "sharding is \"zero9\"");
  refuses("[]", "a JSON object is expected");
  EXPECT_EQ(train_config_from_json("{\"learning-rate\": 1}", "x").learning_rate, 1.0);
}

}  // namespace
}  // namespace sherd
