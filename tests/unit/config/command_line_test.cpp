#include "sherd/config/command_line.hpp"

#include <filesystem>
#include <fstream>

#include "sherd/config/validate.hpp"
#include "thrown.hpp"

namespace sherd {
namespace {

class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() {
    offered = {{.name = "train", .summary = "the trainer", .fields = fields_of(train), .train = &train},
               {.name = "prepare", .summary = "text to corpus", .fields = fields_of(prepare)},
               {.name = "inspect", .summary = "look", .fields = fields_of(inspect), .positional = "path"}};
  }
  void TearDown() override { std::filesystem::remove(file()); }

  const Subcommand& parse(std::vector<std::string> args) {
    if (args.front() == "train") args.insert(args.end(), {"--model", "m", "--data", "d.h5"});
    return parse_command_line(offered, args);
  }
  std::string file() const {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    return testing::TempDir() + "/sherd_" + info->name() + ".toml";
  }
  void write(const std::string& text) { std::ofstream(file()) << text; }

  TrainConfig train;
  PrepareConfig prepare;
  InspectConfig inspect;
  std::vector<Subcommand> offered;
};

TEST_F(CommandLineTest, FlagsOfEveryKind) {
  EXPECT_EQ(
      parse({"train", "--learning-rate", "3e-4", "--seed=7", "--from-scratch", "--no-packing", "--dtype=fp32"}).name,
      "train");
  EXPECT_EQ(train.learning_rate, 3e-4);
  EXPECT_EQ(train.seed, 7);
  EXPECT_TRUE(train.from_scratch);
  EXPECT_FALSE(train.packing);
  EXPECT_EQ(train.dtype, "fp32");
  EXPECT_EQ(train.model, "m");
  EXPECT_EQ(train.data, "d.h5");
  parse({"train", "--packing=true", "--no-from-scratch", "--seed", "1", "--seed", "2"});
  EXPECT_TRUE(train.packing);
  EXPECT_FALSE(train.from_scratch);
  EXPECT_EQ(train.seed, 2);
}

TEST_F(CommandLineTest, SpellingsOfTheReferenceDemo) {
  parse({"train", "--no_fsdp", "--gradient_checkpointing", "--batch_size_per_device", "2",
         "--gradient_accumulation_steps", "4", "--learning_rate", "1e-4", "--max_training_steps", "10",
         "--max_seq_length", "256"});
  EXPECT_EQ(train.sharding, "none");
  EXPECT_EQ(train.activation_checkpointing, "block");
  EXPECT_EQ(train.batch_size_per_device, 2);
  EXPECT_EQ(train.gradient_accumulation_steps, 4);
  EXPECT_EQ(train.learning_rate, 1e-4);
  EXPECT_EQ(train.max_training_steps, 10);
  EXPECT_EQ(train.max_seq_length, 256);
}

TEST_F(CommandLineTest, FlagsOverrideTheFileAndTheFileThePreset) {
  write("preset = \"demo-compat\"\nmax_seq_length = 128  # tokens\nseed = 5\nlearning-rate = 1\n");
  parse({"train", "--config", file(), "--seed", "6"});
  EXPECT_EQ(train.preset, "demo-compat");
  EXPECT_EQ(train.total_batch_size, 64);
  EXPECT_EQ(train.max_grad_norm, 0);
  EXPECT_EQ(train.max_seq_length, 128);
  EXPECT_EQ(train.seed, 6);
  EXPECT_EQ(train.learning_rate, 1);
}

TEST_F(CommandLineTest, ThePresetOfTheCommandLineWins) {
  write("preset = \"demo-compat\"\n");
  parse({"train", "--preset", "corrected", "--config", file()});
  EXPECT_EQ(train.preset, "corrected");
  EXPECT_EQ(train.total_batch_size, 0);
}

TEST_F(CommandLineTest, TheSettingsThatComeWithTheProgram) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SHERD_INPUTS)) {
    if (entry.path().extension() != ".toml") continue;
    ++files;
    train = {};
    parse({"train", "--config", entry.path().string()});
    validate(train, 4);
  }
  EXPECT_GE(files, 2);
}

TEST_F(CommandLineTest, Lists) {
  write("input = [\"x\", \"y\"]\ntokenizer = \"t\"\n");
  parse({"prepare", "--config", file()});
  EXPECT_EQ(prepare.inputs, (std::vector<std::string>{"x", "y"}));
  parse({"prepare", "--config", file(), "--input", "a", "b", "--seed", "1", "--input", "c"});
  EXPECT_EQ(prepare.inputs, (std::vector<std::string>{"a", "b", "c"}));
}

TEST_F(CommandLineTest, Positional) {
  EXPECT_THROWS(parse({"inspect"}), ExitCode::usage, "--path is missing: corpus, checkpoint");
  parse({"inspect", "corpus.h5"});
  EXPECT_EQ(inspect.path, "corpus.h5");
  EXPECT_THROWS(parse({"train", "corpus.h5"}), ExitCode::usage, "\"corpus.h5\" belongs to no flag");
  EXPECT_THROWS(parse({"train", "-x"}), ExitCode::usage, "\"-x\" belongs to no flag");
}

TEST_F(CommandLineTest, UnknownNamesGetTheNearest) {
  EXPECT_THROWS(parse({"trian"}), ExitCode::usage, "there is no trian; did you mean train?");
  EXPECT_THROWS(parse({"train", "--learning_rat", "1"}), ExitCode::usage,
                "there is no --learning_rat; did you mean --learning-rate?");
  EXPECT_THROWS(parse({"train", "--no-fdsp"}), ExitCode::usage, "did you mean --no-fsdp?");
  EXPECT_THROWS(parse({"train", "--no-seed"}), ExitCode::usage, "there is no --no-seed");
  EXPECT_THROWS(parse({"prepare", "--no-fsdp"}), ExitCode::usage, "there is no --no-fsdp");
  write("seed = 1\nmax-grad-nrom = 2\n");
  EXPECT_THROWS(parse({"train", "--config", file()}), ExitCode::usage,
                file() + ":2: there is no max-grad-nrom; did you mean max-grad-norm?");
  EXPECT_THROWS(parse_command_line(offered, {}), ExitCode::usage, "no subcommand");
}

TEST_F(CommandLineTest, WrongValues) {
  EXPECT_THROWS(parse_command_line(offered, {"train", "--model", "m"}), ExitCode::usage, "--data is missing");
  EXPECT_THROWS(parse({"train", "--seed", "many"}), ExitCode::usage, "--seed is \"many\"; an integer from 0");
  EXPECT_THROWS(parse({"train", "--seed", "-1"}), ExitCode::usage, "--seed is \"-1\"");
  EXPECT_THROWS(parse({"train", "--seed", "--packing"}), ExitCode::usage, "--seed lacks its value; an integer");
  EXPECT_THROWS(parse_command_line(offered, {"train", "--seed"}), ExitCode::usage, "--seed lacks its value");
  EXPECT_THROWS(parse({"train", "--packing=maybe"}), ExitCode::usage, "--packing is \"maybe\"; true or false");
  EXPECT_THROWS(parse({"train", "--no-packing=true"}), ExitCode::usage, "--no-packing takes no value");
  EXPECT_THROWS(parse({"train", "--no_fsdp=1"}), ExitCode::usage, "--no_fsdp takes no value");
  EXPECT_THROWS(parse({"train", "--preset", "demo"}), ExitCode::usage, "corrected or demo-compat is expected");
  EXPECT_THROWS(parse({"train", "--config", "absent.toml"}), ExitCode::usage, "absent.toml: No such file");
}

TEST_F(CommandLineTest, WrongKindsInTheFile) {
  const auto refuses = [this](const std::string& line, const std::string& part) {
    write("# first\n" + line + "\n");
    EXPECT_THROWS(parse({"train", "--config", file()}), ExitCode::usage, file() + ":2: " + part);
  };
  refuses("learning-rate = \"1e-5\"", "learning-rate is \"1e-5\"; a number from 0 to 100 is expected");
  refuses("packing = 1", "packing is 1; true or false is expected");
  refuses("dtype = 16", "dtype is 16; fp32 or bf16 is expected, in \"quotes\"");
  refuses("seed = 1.5", "seed is \"1.5\"; an integer");
  refuses("model = [\"a\", \"b\"]", "model is a; a text is expected");
  refuses("seed = true", "seed is true; an integer");
}

TEST_F(CommandLineTest, Help) {
  const std::string all = help_text(offered, {"--help"});
  for (const Subcommand& command : offered) EXPECT_NE(all.find("  " + command.name), std::string::npos) << all;
  const std::string text = help_text(offered, {"train", "--help"});
  for (const Field& field : offered[0].fields) {
    EXPECT_NE(text.find((field.holds<bool>() ? "--[no-]" : "--") + field.name), std::string::npos) << field.name;
  }
  for (const char* part : {"The batch\n", "--no-fsdp", "[1e-05]", "(required)", "--config FILE"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_EQ(help_text(offered, {"help", "train"}), text);
}

TEST_F(CommandLineTest, WhatOnlyAsksForText) {
  EXPECT_TRUE(asks_for_text({}));
  EXPECT_TRUE(asks_for_text({"--version"}));
  EXPECT_TRUE(asks_for_text({"help", "train"}));
  EXPECT_TRUE(asks_for_text({"train", "--seed", "1", "-h"}));
  EXPECT_FALSE(asks_for_text({"train", "--seed", "1"}));
}

}  // namespace
}  // namespace sherd
