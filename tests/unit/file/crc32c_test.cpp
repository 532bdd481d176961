#include "sherd/file/crc32c.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sherd {
namespace {

std::vector<std::byte> bytes(std::size_t n, int first, int step) {
  std::vector<std::byte> v;
  for (std::size_t i = 0; i < n; ++i) v.push_back(static_cast<std::byte>(first + step * static_cast<int>(i)));
  return v;
}

TEST(Crc32c, KnownAnswers) {  // RFC 3720, appendix B.4
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(bytes(32, 0, 0)), 0x8a9136aau);
  EXPECT_EQ(crc32c(bytes(32, 0xff, 0)), 0x62a8ab43u);
  EXPECT_EQ(crc32c(bytes(32, 0, 1)), 0x46dd794eu);
  EXPECT_EQ(crc32c(bytes(32, 31, -1)), 0x113fdb5cu);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(Crc32c, TableEqualsInstructionAtEveryLengthAndAlignment) {
  const auto data = bytes(80, 7, 13);
  for (std::size_t first = 0; first < 8; ++first) {
    for (std::size_t n = 0; first + n <= data.size(); ++n) {
      const auto part = std::span(data).subspan(first, n);
      ASSERT_EQ(crc32c(part), crc32c_by_table(part)) << first << " " << n;
    }
  }
}

TEST(Crc32c, ContinuesWhereItStopped) {
  const auto data = bytes(100, 3, 5);
  for (const std::size_t cut : {0u, 1u, 8u, 99u, 100u}) {
    const auto all = std::span<const std::byte>(data);
    EXPECT_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), crc32c(all));
    EXPECT_EQ(crc32c_by_table(all.subspan(cut), crc32c_by_table(all.first(cut))), crc32c(all));
  }
}

}  // namespace
}  // namespace sherd
