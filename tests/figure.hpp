#pragma once
// Figures that tests reach, printed as they are asserted: `make test` collects these lines at its end.
#include <fmt/format.h>

#include <cstdio>

namespace sherd::test {

template <class... Args>
void figure(fmt::format_string<Args...> format, Args&&... args) {
  std::printf("figure: %s\n", fmt::format(format, std::forward<Args>(args)...).c_str());
}

}  // namespace sherd::test
