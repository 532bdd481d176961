#include "sherd/file/digest.hpp"

#include <openssl/evp.h>

#include <array>
#include <vector>

#include "sherd/base/error.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {

struct Digest::Context {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> evp{EVP_MD_CTX_new()};
};

Digest::Digest(const char* algorithm) : context_(std::make_unique<Context>()) {
  const EVP_MD* type = EVP_get_digestbyname(algorithm);
  SHERD_CHECK(type != nullptr && EVP_DigestInit_ex(context_->evp.get(), type, nullptr) == 1, "OpenSSL has no {}",
              algorithm);
}
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

Digest Digest::sha256() {
  return Digest("sha256");
}

Digest Digest::git_blob(std::int64_t size) {
  Digest digest("sha1");
  const std::string head = fmt::format("blob {}", size);
  digest.update(std::string_view(head.c_str(), head.size() + 1));  // with its zero
  return digest;
}

void Digest::update(std::span<const std::byte> bytes) {
  SHERD_CHECK(EVP_DigestUpdate(context_->evp.get(), bytes.data(), bytes.size()) == 1, "EVP_DigestUpdate failed");
}

void Digest::update(std::string_view text) {
  update(std::as_bytes(std::span(text)));
}

std::string Digest::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
  unsigned size = 0;
  SHERD_CHECK(EVP_DigestFinal_ex(context_->evp.get(), raw.data(), &size) == 1, "EVP_DigestFinal failed");
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", raw[i]);
  return hex;
}

std::string sha256_hex(std::string_view bytes) {
  Digest digest = Digest::sha256();
  digest.update(bytes);
  return digest.finish();
}

std::string sha256_hex(const File& file) {
  Digest digest = Digest::sha256();
  std::vector<std::byte> block(std::size_t{1} << 20);
  const std::int64_t size = file.size();
  for (std::int64_t at = 0; at < size;) {
    const auto part = std::span(block).first(
        static_cast<std::size_t>(std::min<std::int64_t>(size - at, static_cast<std::int64_t>(block.size()))));
    file.pread_all(part, at);
    digest.update(part);
    at += static_cast<std::int64_t>(part.size());
  }
  return digest.finish();
}

}  // namespace sherd
