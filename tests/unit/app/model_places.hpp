#pragma once
// One tiny model as a Hugging Face directory and as a run's checkpoints, and what a subcommand prints about it.
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "model_source.hpp"
#include "sherd/data/tokenizer.hpp"
#include "sherd/io/checkpoint.hpp"
#include "sherd/io/safetensors.hpp"
#include "sherd/model/param_spec.hpp"
#include "temporary_directory.hpp"

namespace sherd::app {

namespace fs = std::filesystem;

/// What is written to stdout and stderr from here on, until it is asked for.
class Captured {
 public:
  Captured() {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() { finish(); }
  const std::string& out() { return finish(), out_; }
  const std::string& err() { return finish(), err_; }

 private:
  void finish() {
    if (std::exchange(finished_, true)) return;
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
  }
  bool finished_ = false;
  std::string out_, err_;
};

template <class Call>
std::string printed_by(Call&& call) {
  Captured captured;
  call();
  return captured.out();
}

inline std::vector<float> all_of(ParamSource& source, const ParamSpec& spec) {
  std::vector<float> values(static_cast<std::size_t>(spec.numel()));
  source.read(spec.name, ParamState::master, 0, values);
  return values;
}

inline void train_test_tokenizer(const fs::path& path, std::int64_t pieces = 90) {
  int lines = 0;
  train_tokenizer(
      [&](std::string& text) {
        text = fmt::format("e2e4 e7e5 g1f3 b8c6 f1b5 a7a6 game {} of many 1-0", lines % 7);
        return lines++ < 100;
      },
      pieces, path.string());
}

/// A golden case with a tokenizer; every parameter of `unit` whose name ends in `zeroed` is zero.
class Places {
 public:
  explicit Places(const std::string& name, const std::string& zeroed = "-") : zeroed_(zeroed) {
    const fs::path from = fs::path(SHERD_GOLDEN_DIR) / "cases" / name;
    fs::create_directories(model());
    fs::create_directories(run());
    train_test_tokenizer(model() / "tokenizer.model");
    fs::copy_file(model() / "tokenizer.model", run() / "tokenizer.model");
    for (const fs::path& to : {model(), run()}) fs::copy_file(from / "config.json", to / "config.json");
    fs::copy_file(from / "model.safetensors", model() / "model.safetensors");
    write_step(1);
  }

  fs::path model() const { return directory_ / "model"; }
  fs::path run() const { return directory_ / "run"; }
  fs::path step(std::int64_t n) const { return run() / fmt::format("step-{:08}", n); }
  fs::path at(const std::string& name) const { return directory_ / name; }
  ModelConfig config() const { return load_model_config(model()); }

  /// A checkpoint of two ranks, each with a half of every parameter.
  void write_step(std::int64_t n) {
    SafetensorsModel from(model(), {.tied_embeddings = config().tied_embeddings});
    begin_checkpoint(run(), n);
    std::vector<std::string> parts;
    for (const int rank : {0, 1}) {
      CheckpointWriter writer(run(), n, rank);
      for (const UnitSpec& unit : llama_units(config())) {
        for (const ParamSpec& spec : unit.params) {
          std::vector<float> values = all_of(from, spec);
          if (spec.name.ends_with(zeroed_)) values.assign(values.size(), 0);
          const std::size_t half = values.size() / 2, first = rank == 0 ? 0 : half;
          writer.add(spec.name, spec.shape, ParamState::master, static_cast<std::int64_t>(first),
                     std::span(values).subspan(first, rank == 0 ? half : values.size() - half));
        }
      }
      parts.push_back(writer.finish());
    }
    commit_checkpoint(run(), {n, n * 1000, 2, R"({"learning_rate":0.25})"}, parts, 0);
  }

  /// Changes a byte in the middle of a file.
  static void damage(const fs::path& file) {
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto middle = static_cast<std::streamoff>(fs::file_size(file) / 2);
    f.seekg(middle);
    const auto changed = static_cast<char>(f.get() ^ 0x40);
    f.seekp(middle);
    f.put(changed);
  }

 private:
  TemporaryDirectory directory_;
  std::string zeroed_;
};

}  // namespace sherd::app
