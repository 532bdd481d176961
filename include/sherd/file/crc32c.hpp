#pragma once
// CRC-32C (Castagnoli, polynomial 0x1EDC6F41, reflected): the checksum of checkpoints and corpora. x86's crc32
// instruction where the CPU has it, a table elsewhere; both give the same value.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sherd {

/// The CRC of `data` appended to bytes whose CRC is `before`: crc32c(b, crc32c(a)) == crc32c(ab). Of nothing it is 0.
std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t before = 0);
std::uint32_t crc32c(std::string_view text, std::uint32_t before = 0);

/// The same by table, one byte at a time, for CPUs without the instruction; public so that tests can compare the two.
std::uint32_t crc32c_by_table(std::span<const std::byte> data, std::uint32_t before = 0);

}  // namespace sherd
