#pragma once
// A directory of a test's own, removed with everything in it; and the message of what a call throws.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "sherd/base/error.hpp"

namespace sherd {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = testing::TempDir() + "sherd-XXXXXX";
    SHERD_CHECK(::mkdtemp(name.data()) != nullptr, "cannot make {}", name);
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The message of the Error of this exit code that the call throws, or a text that says what happened instead.
template <class Call>
std::string message_of(ExitCode code, Call&& call) {
  try {
    call();
  } catch (const Error& e) {
    if (e.code() == code) return e.what();
    return fmt::format("(exit code {}: {})", static_cast<int>(e.code()), e.what());
  }
  return "(nothing thrown)";
}

}  // namespace sherd

#define EXPECT_BAD_INPUT(call, part) \
  EXPECT_PRED_FORMAT2(testing::IsSubstring, part, ::sherd::message_of(::sherd::ExitCode::bad_input, [&] { call; }))
