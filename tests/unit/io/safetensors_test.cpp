#include "sherd/io/safetensors.hpp"

#include <gtest/gtest.h>

#include "safetensors_file.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

const std::string kTwo = R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                         R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}})";
const std::string kTwoData = raw<float>({1, 2, 3, 4}) + raw<std::uint16_t>({0x3f80, 0xc000, 0x3f00});  // 1, -2, 0.5

std::vector<float> read(SafetensorsModel& model, const std::string& name, std::int64_t first, std::size_t count) {
  std::vector<float> out(count);
  model.read(name, ParamState::master, first, out);
  return out;
}

TEST(Safetensors, ReadsRangesOfEveryType) {
  const TemporaryDirectory dir;
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"h":{"dtype":"F16","shape":[2],"data_offsets":[22,26]},)" + kTwo.substr(1) +
      "  ";
  write_file(dir / "m.safetensors", safetensors_bytes(header, kTwoData + raw<std::uint16_t>({0x3c00, 0xc100})));
  SafetensorsModel model(dir / "m.safetensors");
  EXPECT_EQ(model.names(), (std::vector<std::string>{"a", "b", "h"}));
  EXPECT_EQ(model.shape("a"), (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(read(model, "a", 0, 4), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(read(model, "a", 1, 2), (std::vector<float>{2, 3}));
  EXPECT_EQ(read(model, "b", 1, 2), (std::vector<float>{-2, 0.5}));
  EXPECT_EQ(read(model, "h", 0, 2), (std::vector<float>{1, -2.5}));
  EXPECT_EQ(model.bytes_read(), 16 + 8 + 4 + 4);
  EXPECT_EQ(model.data_bytes(), 26);
  EXPECT_TRUE(model.has("a", ParamState::master));
  EXPECT_FALSE(model.has("a", ParamState::m));
}

TEST(Safetensors, UnalignedHeadersOfOldFiles) {
  const TemporaryDirectory dir;
  for (std::size_t pad = 0; pad < 8; ++pad) {
    write_file(dir / "m.safetensors", safetensors_bytes(kTwo + std::string(pad, ' '), kTwoData));
    SafetensorsModel model(dir / "m.safetensors");
    EXPECT_EQ(read(model, "a", 0, 4), (std::vector<float>{1, 2, 3, 4}));
    EXPECT_EQ(read(model, "b", 0, 3), (std::vector<float>{1, -2, 0.5}));
  }
}

TEST(Safetensors, ReadsMoreThanItsBuffer) {
  const TemporaryDirectory dir;
  const std::size_t n = (std::size_t{8} << 20) / 2 + 17;  // bf16 elements: one buffer and a little
  std::vector<std::uint16_t> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<std::uint16_t>(i % 0x7f80);
  write_file(
      dir / "m.safetensors",
      safetensors_bytes(fmt::format(R"({{"a":{{"dtype":"BF16","shape":[{0}],"data_offsets":[0,{1}]}}}})", n, 2 * n),
                        raw(values)));
  SafetensorsModel model(dir / "m.safetensors");
  const std::vector<float> out = read(model, "a", 1, n - 1);
  for (std::size_t i = 0; i < out.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::uint32_t{values[i + 1]} << 16);
  }
}

TEST(Safetensors, TiedHeadIsTheEmbedding) {
  const TemporaryDirectory dir;
  write_file(dir / "m.safetensors",
             safetensors_bytes(R"({"model.embed_tokens.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                               R"("model.layers.0.self_attn.rotary_emb.inv_freq":)"
                               R"({"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
                               raw<float>({5, 6, 7})));
  SafetensorsModel tied(dir / "m.safetensors", {.tied_embeddings = true});
  EXPECT_EQ(read(tied, "lm_head.weight", 1, 1), std::vector<float>{6});
  EXPECT_TRUE(tied.has("lm_head.weight", ParamState::master));
  EXPECT_EQ(tied.names(), std::vector<std::string>{"model.embed_tokens.weight"});
  const SafetensorsModel untied(dir / "m.safetensors");
  EXPECT_FALSE(untied.has("lm_head.weight", ParamState::master));
  EXPECT_BAD_INPUT(untied.shape("lm_head.weight"), "there is no tensor lm_head.weight");
}

TEST(Safetensors, DamagedHeadersAreRefused) {
  const TemporaryDirectory dir;
  const auto path = dir / "m.safetensors";
  const auto open = [&](const std::string& bytes) {
    write_file(path, bytes);
    return message_of(ExitCode::bad_input, [&] { SafetensorsModel model(path); });
  };
  const auto with = [&](const std::string& a, const std::string& b) {
    return open(safetensors_bytes("{" + a + "," + b + "}", std::string(16, 'x')));
  };
  const auto entry = [](const char* name, const char* shape, const char* offsets, const char* dtype = "F32") {
    return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape, offsets);
  };
  const std::string a = entry("a", "[2]", "[0,8]"), b = entry("b", "[2]", "[8,16]");
  EXPECT_EQ(with(a, b), "(nothing thrown)");
  EXPECT_EQ(with(b, a), "(nothing thrown)");
  const std::pair<std::string, const char*> cases[] = {
      {open(""), "truncated"},
      {open("\x10"), "truncated"},
      {open(raw<std::uint64_t>({1000}) + "{}"), "the header alone has 1000"},
      {open(raw<std::uint64_t>({~std::uint64_t{0}}) + "{}"), "not a safetensors file"},
      {open(raw<std::uint64_t>({25000001}) + "{}"), "at most 25000000"},
      {open(safetensors_bytes("", "")), "does not begin with"},
      {open(safetensors_bytes("[1]", "")), "does not begin with"},
      {open(safetensors_bytes("{\"a\":", "")), "not valid JSON"},
      {open(safetensors_bytes("{\"a\":1}", "")), "expected an object"},
      {open(safetensors_bytes(R"({"__metadata__":{"a":1}})", "")), "expected a string"},
      {with(a, a), "appears twice"},
      {with(a, entry("b", "[2]", "[4,12]")), "they overlap"},
      {with(a, entry("b", "[1]", "[12,16]")), "there is a hole"},
      {with(a, entry("b", "[2305843009213693949]", "[8,9223372036854775804]")), ""},  // sums beyond 2^63
      {with(a, entry("b", "[2]", "[16,8]")), "outside of"},
      {with(a, entry("b", "[2]", "[-8,0]")), "outside of"},
      {with(a, entry("b", "[2]", "[8]")), "expected [begin, end]"},
      {with(a, entry("b", "[3]", "[8,16]")), "do not make the 8 bytes"},
      {with(a, entry("b", "[-2]", "[8,16]")), "outside of"},
      {with(a, entry("b", "[2.0]", "[8,16]")), "expected an integer"},
      {with(a, entry("b", "[4294967296,4294967296]", "[8,16]")), "impossibly large"},
      {with(a, entry("b", "[4611686018427387904]", "[8,16]")), "do not make"},
      {with(a, entry("b", "[1,1,1,1,1,1,1,1,2]", "[8,16]")), "more than 8 dimensions"},
      {with(a, entry("b", "[2]", "[8,16]", "F31")), "unknown dtype F31"},
      {with(a, entry("b", "[3]", "[8,16]", "F4")), "do not make"},
      {with(a, entry("b", "[1]", "[8,12]")), "longer than it should be"},
      {with(a, entry("b", "[4]", "[8,24]")), "truncated, fetch it again"},
  };
  for (const auto& [message, part] : cases)
    EXPECT_NE(message.find(part), std::string::npos) << message << " / " << part;
}

TEST(Safetensors, EveryTruncationIsNoticed) {
  const TemporaryDirectory dir;
  const std::string whole = safetensors_bytes(kTwo, kTwoData);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    write_file(dir / "m.safetensors", whole.substr(0, n));
    EXPECT_BAD_INPUT(SafetensorsModel(dir / "m.safetensors"), "truncated");
  }
}

TEST(Safetensors, OtherTypesAreRefusedWhenRead) {
  const TemporaryDirectory dir;
  write_file(dir / "m.safetensors",
             safetensors_bytes(R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}})", "xy"));
  SafetensorsModel model(dir / "m.safetensors");
  EXPECT_BAD_INPUT(read(model, "a", 0, 1), "a is stored as I8");
  EXPECT_BAD_INPUT(read(model, "b", 0, 1), "there is no tensor b; did you mean a?");
}

TEST(Safetensors, RangesOutsideAreABug) {
  const TemporaryDirectory dir;
  write_file(dir / "m.safetensors", safetensors_bytes(kTwo, kTwoData));
  SafetensorsModel model(dir / "m.safetensors");
  EXPECT_THROW(read(model, "a", 3, 2), Error);
  EXPECT_THROW(read(model, "a", -1, 1), Error);
  EXPECT_THROW(read(model, "a", 0, 5), Error);
}

TEST(Safetensors, DirectoryWithIndex) {
  const TemporaryDirectory dir;
  const auto one = [](const char* name, float value) {
    return safetensors_bytes(fmt::format(R"({{"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}})", name),
                             raw<float>({value}));
  };
  write_file(dir / "x-1.safetensors", one("a", 1));
  write_file(dir / "x-2.safetensors", one("b", 2));
  const auto index = [&](const std::string& map) {
    write_file(dir / "model.safetensors.index.json", R"({"metadata":{"total_size":8},"weight_map":)" + map + "}");
    return message_of(ExitCode::bad_input, [&] { SafetensorsModel model(dir.path()); });
  };
  EXPECT_EQ(index(R"({"a":"x-1.safetensors","b":"x-2.safetensors"})"), "(nothing thrown)");
  SafetensorsModel model(dir.path());
  EXPECT_EQ(read(model, "a", 0, 1), std::vector<float>{1});
  EXPECT_EQ(read(model, "b", 0, 1), std::vector<float>{2});
  EXPECT_NE(index(R"({"a":"x-1.safetensors","c":"x-2.safetensors"})").find("c is missing"), std::string::npos);
  EXPECT_NE(index(R"({"a":"x-3.safetensors"})").find("x-3.safetensors: missing"), std::string::npos);
  for (const char* name : {"../x-1.safetensors", "/x-1.safetensors", "d\\\\x.safetensors", "c:x.safetensors", "x.bin",
                           "", "..safetensors", "a\\u0000b.safetensors"}) {
    const std::string message = index(fmt::format(R"({{"a":"{}"}})", name));
    EXPECT_NE(message.find("not a plain name"), std::string::npos) << name << ": " << message;
  }
}

TEST(Safetensors, MissingModelsSayWhatToDo) {
  const TemporaryDirectory dir;
  EXPECT_BAD_INPUT(SafetensorsModel(dir / "none"), "there is no such model");
  EXPECT_BAD_INPUT(SafetensorsModel(dir.path()), "pickled .bin and .pt files are not read");
}

TEST(RequireShape, SaysBothShapes) {
  const TemporaryDirectory dir;
  write_file(dir / "m.safetensors", safetensors_bytes(kTwo, kTwoData));
  const SafetensorsModel model(dir / "m.safetensors");
  const std::int64_t right[] = {2, 2}, wrong[] = {2, 3};
  EXPECT_NO_THROW(require_shape(model, "m", "a", right));
  EXPECT_BAD_INPUT(require_shape(model, "m", "a", wrong),
                   "m: a has the shape (2, 2), the configuration asks for (2, 3)");
}

}  // namespace
}  // namespace sherd
