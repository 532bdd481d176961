#pragma once
// What a call throws: its exit code and its text, for tests of messages.
#include <functional>
#include <string>

#include "sherd/base/error.hpp"

namespace sherd {

struct Thrown {
  ExitCode code = ExitCode::done;
  std::string text;  // empty: nothing was thrown

  bool says(const std::string& part) const { return text.find(part) != std::string::npos; }
};

inline Thrown thrown_by(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return {e.code(), e.what()};
  }
  return {};
}

/// EXPECT_THROWS(call(), ExitCode::usage, "part of the text");
#define EXPECT_THROWS(call, expected_code, part)                      \
  do {                                                                \
    const ::sherd::Thrown thrown = ::sherd::thrown_by([&] { call; }); \
    EXPECT_EQ(thrown.code, expected_code) << thrown.text;             \
    EXPECT_TRUE(thrown.says(part)) << thrown.text;                    \
  } while (false)

}  // namespace sherd
