// The decoder, one token or many at a time, beside Hugging Face's logits of whole sequences.
#include <algorithm>

#include "golden_file.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/model/decoder.hpp"

namespace sherd::golden {
namespace {

constexpr double kBound = 1e-5;
const std::filesystem::path kCases = golden_folder(SHERD_GOLDEN_DIR) / "cases";

/// A case's decoder, and its batch 0.
class DecoderCase {
 public:
  DecoderCase(const std::string& name, std::int64_t capacity)
      : config(load_model_config(kCases / name)),
        golden(load_tensors(kCases / name / "golden.safetensors")),
        arena_(device_.arena("decoder", Decoder::arena_bytes(config, capacity, cpu::kWorkspaceBytes))),
        ops_(cpu::make_ops(arena_.take(DType::f32, {cpu::kWorkspaceBytes / 4}))),
        stream_(device_.stream("compute", StreamKind::compute)),
        decoder(*ops_, *stream_, arena_, config, capacity) {
    EXPECT_EQ(arena_.high_water(), arena_.capacity()) << "what was planned is what is taken";
    const auto weights = load_tensors(kCases / name / "model.safetensors");
    decoder.load([&](const ParamSpec& spec, std::int64_t first, std::span<float> out) {
      const GoldenTensor& from = weights.at(spec.name);
      ASSERT_EQ(from.shape, spec.shape) << spec.name;
      std::copy_n(from.values.begin() + first, out.size(), out.begin());
    });
  }
  std::int64_t rows() const { return golden.at("tokens").shape.at(1) * length(); }
  std::int64_t length() const { return golden.at("tokens").shape.at(2); }
  std::span<const std::int32_t> tokens(std::int64_t first, std::int64_t count) const {
    return std::span(golden.at("tokens").indices)
        .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
  }
  /// Index of the first token of the document that token i of batch 0 belongs to.
  std::int64_t document_of(std::int64_t i) const {
    return i - i % length() + golden.at("doc_start").indices.at(static_cast<std::size_t>(i));
  }
  void expect_logits(std::int64_t i, const std::vector<float>& found) const {
    const auto V = static_cast<std::size_t>(config.vocab_size);
    const auto truth = std::span(golden.at("logits").values).subspan(static_cast<std::size_t>(i) * V, V);
    EXPECT_LE(relative_error(found, truth), kBound) << "token " << i;
  }

  ModelConfig config;
  std::map<std::string, GoldenTensor> golden;

 private:
  cpu::Device device_;
  Arena arena_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;

 public:
  Decoder decoder;
};

class GoldenDecoder : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Cases, GoldenDecoder,
                         testing::Values("mha", "gqa", "tied", "llama3", "packed", "odd", "bf16_weights"),
                         [](const auto& p) { return std::string(p.param); });

TEST_P(GoldenDecoder, OneTokenAtATimeHasPyTorchsLogits) {
  DecoderCase c(GetParam(), 40);
  for (std::int64_t i = 0; i < c.rows(); ++i) {
    if (c.document_of(i) == i) c.decoder.rewind(0);
    c.expect_logits(i, c.decoder.append(c.tokens(i, 1)));
    EXPECT_EQ(c.decoder.length(), i - c.document_of(i) + 1);
  }
}

TEST_P(GoldenDecoder, WholePromptsHavePyTorchsLogits) {
  DecoderCase c(GetParam(), 40);
  for (std::int64_t i = 0; i < c.rows(); ++i) {
    c.decoder.rewind(0);
    c.expect_logits(i, c.decoder.append(c.tokens(c.document_of(i), i - c.document_of(i) + 1)));
  }
}

TEST_P(GoldenDecoder, ContinuesWhereItIsRewoundTo) {
  DecoderCase c(GetParam(), 40);
  const std::int64_t last = c.length() - 1, begin = c.document_of(last), kept = (last - begin + 1) / 2;
  c.decoder.append(c.tokens(begin, last - begin + 1));
  c.decoder.rewind(kept);
  c.expect_logits(last, c.decoder.append(c.tokens(begin + kept, last - begin + 1 - kept)));
}

// 100 tokens are more than go through the blocks at once, and 37 more begin in the middle of such a run.
TEST(GoldenDecoderRuns, LongPromptsAreReadInRuns) {
  DecoderCase c("llama3", 137);
  static_assert(kDecoderRows < 100);
  c.decoder.append(c.tokens(0, 100));
  const std::vector<float> found = c.decoder.append(c.tokens(100, 37));
  c.decoder.rewind(0);
  std::vector<float> truth;
  for (std::int64_t i = 0; i < 137; ++i) truth = c.decoder.append(c.tokens(i, 1));
  EXPECT_LE(relative_error(found, truth), kBound);
}

TEST(GoldenDecoderRuns, RefusesMoreThanItsCapacityAndTokensOutsideTheVocabulary) {
  DecoderCase c("tied", 4);
  EXPECT_THROW(c.decoder.append(c.tokens(0, 5)), Error);
  c.decoder.append(c.tokens(0, 3));
  EXPECT_THROW(c.decoder.append(c.tokens(0, 2)), Error);
  const auto outside = static_cast<std::int32_t>(c.config.vocab_size), negative = -1;
  EXPECT_THROW(c.decoder.append({&outside, 1}), Error);
  EXPECT_THROW(c.decoder.append({&negative, 1}), Error);
  EXPECT_THROW(c.decoder.rewind(4), Error);
  EXPECT_EQ(c.decoder.length(), 3);
}

}  // namespace
}  // namespace sherd::golden
