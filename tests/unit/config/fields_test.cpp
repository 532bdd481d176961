#include "sherd/config/fields.hpp"

#include <set>

#include "thrown.hpp"

namespace sherd {
namespace {

// Converts to whatever a member is, so that T{Anything, Anything, ...} compiles for as many as T has members.
struct Anything {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor)
};

template <class T, class... Members>
constexpr std::size_t count_members() {
  if constexpr (requires { T{Members{}..., Anything{}}; }) {
    return count_members<T, Members..., Anything>();
  } else {
    return sizeof...(Members);
  }
}

// Every member is listed: as many fields as members, all different, each pointing into the struct.
template <class Config>
void expect_all_listed() {
  Config config;
  std::set<const void*> targets;
  std::set<std::string> names;
  const auto* begin = reinterpret_cast<const std::byte*>(&config);
  for (const Field& field : fields_of(config)) {
    const void* target = std::visit([](auto* p) { return static_cast<const void*>(p); }, field.target);
    EXPECT_GE(target, static_cast<const void*>(begin)) << field.name;
    EXPECT_LT(target, static_cast<const void*>(begin + sizeof(Config))) << field.name;
    EXPECT_TRUE(targets.insert(target).second) << field.name;
    EXPECT_TRUE(names.insert(field.name).second) << field.name;
    EXPECT_EQ(field.name, kebab_case(field.name));
    EXPECT_FALSE(field.help.empty());
    EXPECT_FALSE(field.group.empty());
  }
  EXPECT_EQ(targets.size(), count_members<Config>());
}

TEST(Fields, EveryMemberIsListed) {
  struct Three {
    std::string a;
    bool b;
    double c = 1;
  };
  static_assert(count_members<Three>() == 3);
  expect_all_listed<TrainConfig>();
  expect_all_listed<PrepareConfig>();
  expect_all_listed<GenerateConfig>();
  expect_all_listed<ExportConfig>();
  expect_all_listed<InspectConfig>();
}

TEST(Fields, APlanHasThoseOfTrainingAndTwoMore) {
  PlanConfig plan;
  TrainConfig train;
  const Fields fields = fields_of(plan), of_training = fields_of(train);
  static_assert(count_members<PlanConfig>() == 3);
  EXPECT_EQ(fields.size(), of_training.size() + 2);
  EXPECT_EQ(find_field(fields, "ranks", "").group, "What is planned for");
  EXPECT_FALSE(find_field(fields, "data", "").required);
  EXPECT_TRUE(find_field(of_training, "data", "").required);
}

TEST(Fields, DefaultsAreValid) {
  TrainConfig c{.model = "m", .data = "d"};
  check_fields(fields_of(c));
  c.data.clear();
  EXPECT_THROWS(check_fields(fields_of(c)), ExitCode::usage, "--data is missing: corpus.h5");
}

TEST(Fields, SetsAndRefuses) {
  TrainConfig c;
  const Fields fields = fields_of(c);
  const auto set = [&](const char* name, const char* text) { set_field(find_field(fields, name, "x"), text, "--it"); };
  set("learning_rate", "2.5e-4");
  EXPECT_EQ(c.learning_rate, 2.5e-4);
  set("seed", "+9007199254740991");
  EXPECT_EQ(c.seed, 9007199254740991);
  set("packing", "false");
  EXPECT_FALSE(c.packing);
  EXPECT_THROWS(set("model", ""), ExitCode::usage, "--it is \"\"; a text is expected");
  EXPECT_THROWS(set("seed", "1e3"), ExitCode::usage,
                "--it is \"1e3\"; an integer from 0 to 9007199254740991 is expected");
  EXPECT_THROWS(set("seed", "9007199254740992"), ExitCode::usage, "--it is");
  EXPECT_THROWS(set("seed", "9007199254740993"), ExitCode::usage, "--it is");
  EXPECT_THROWS(set("seed", "99999999999999999999"), ExitCode::usage, "--it is");
  EXPECT_THROWS(set("seed", " 1"), ExitCode::usage, "--it is");
  EXPECT_THROWS(set("seed", ""), ExitCode::usage, "--it is");
  EXPECT_THROWS(set("learning-rate", "fast"), ExitCode::usage, "a number from 0 to 100 is expected");
  EXPECT_THROWS(set("learning-rate", "nan"), ExitCode::usage, "a number");
  EXPECT_THROWS(set("learning-rate", "1e-5x"), ExitCode::usage, "a number");
  EXPECT_THROWS(set("packing", "1"), ExitCode::usage, "true or false is expected");
  EXPECT_THROWS(set("sharding", "ful"), ExitCode::usage, "none, full or hybrid is expected");
}

TEST(Fields, UnknownNamesGetTheNearest) {
  TrainConfig c;
  const Fields fields = fields_of(c);
  EXPECT_EQ(find_field(fields, "max_seq_length", "x").name, "max-seq-length");
  EXPECT_THROWS(find_field(fields, "learning_rat", "run.toml:3"), ExitCode::usage,
                "run.toml:3: there is no learning_rat; did you mean learning-rate?");
  EXPECT_THROWS(find_field(fields, "sede", "x"), ExitCode::usage, "did you mean seed?");
  EXPECT_THROWS(find_field(fields, "quantum-entanglement", "x"), ExitCode::usage, "--help lists what there is");
}

TEST(Fields, NearestName) {
  EXPECT_EQ(nearest_name("kitten", {"mitten", "sitting"}), "mitten");
  EXPECT_EQ(nearest_name("trian", {"train", "plan"}), "train");
  EXPECT_EQ(nearest_name("zzz", {"train", "plan"}), "");
  EXPECT_EQ(nearest_name("", {"train"}), "");
}

TEST(Preset, SaysWhatIsNoLongerTheDemos) {
  TrainConfig c;
  c.learning_rate = 3e-3;
  EXPECT_TRUE(changed_from_preset(c).empty());  // of no preset
  apply_preset(c, "demo-compat");
  EXPECT_TRUE(changed_from_preset(c).empty());
  c.learning_rate = 3e-3;
  c.seed = 7;  // no arithmetic
  EXPECT_EQ(changed_from_preset(c), std::vector<std::string>{"learning-rate: 1e-05 and 0.003"});
  apply_preset(c, "demo-compat");
  c.moments_dtype = "bf16";
  EXPECT_EQ(changed_from_preset(c), std::vector<std::string>{"moments-dtype: fp32 and bf16"});
  apply_preset(c, "demo-compat");
  c.fp8 = true;
  EXPECT_EQ(changed_from_preset(c), std::vector<std::string>{"fp8: false and true"});
}

TEST(Preset, DemoCompatIsTheReferenceDemosArithmetic) {
  TrainConfig c;
  c.max_seq_length = 9;
  c.moments_dtype = "bf16";
  c.fp8 = true;
  apply_preset(c, "demo-compat");
  EXPECT_FALSE(c.fp8);
  EXPECT_EQ(c.preset, "demo-compat");
  EXPECT_EQ(c.dtype, "bf16");
  EXPECT_EQ(c.moments_dtype, "fp32");
  EXPECT_EQ(c.max_seq_length, 512);
  EXPECT_FALSE(c.packing);
  EXPECT_EQ(c.total_batch_size, 64);
  EXPECT_EQ(c.batch_size_per_device, 1);
  EXPECT_EQ(c.max_grad_norm, 0);
  EXPECT_EQ(c.weight_decay, 0.01);
  EXPECT_EQ(c.learning_rate, 1e-5);
  EXPECT_EQ(c.lr_schedule, "linear");
  EXPECT_EQ(c.warmup_ratio, 0.1);
  EXPECT_EQ(c.num_epochs, 1);
  EXPECT_EQ(c.seed, 42);
  EXPECT_THROWS(apply_preset(c, "demo"), ExitCode::usage, "preset is \"demo\"");
}

}  // namespace
}  // namespace sherd
