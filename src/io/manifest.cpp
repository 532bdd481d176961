#include "manifest.hpp"

#include <algorithm>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/file/crc32c.hpp"
#include "sherd/file/json.hpp"
#include "text.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kManifestLimit = std::int64_t{256} << 20;
constexpr std::int64_t kMostRanks = 1 << 20;

std::uint32_t parse_crc(std::string_view digits, const std::string& where) {
  std::uint32_t value = 0;
  for (const char c : digits) {
    const auto digit = std::string_view("0123456789abcdef").find(c);
    if (digit == std::string_view::npos) throw bad_input("{}: \"{}\" is not a checksum", where, digits);
    value = value << 4 | static_cast<std::uint32_t>(digit);
  }
  return value;
}

std::uint32_t parse_crc(const JsonValue& value) {
  const std::string digits = value.string();
  if (digits.size() != 8) throw bad_input("{}: a checksum has 8 digits", value.where());
  return parse_crc(digits, value.where());
}

ParamState parse_state(const JsonValue& value) {
  const std::string name = value.string();
  for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) {
    if (name == name_of(state)) return state;
  }
  throw bad_input("{}: \"{}\" is none of master, m, v", value.where(), name);
}

std::vector<std::int64_t> parse_shape(const JsonValue& value, std::int64_t* elements) {
  if (value.size() < 1 || value.size() > 2) throw bad_input("{}: one or two dims are kept", value.where());
  std::vector<std::int64_t> shape;
  *elements = 1;
  for (std::size_t i = 0; i < value.size(); ++i) {
    shape.push_back(value.at(i).integer(1));
    if (__builtin_mul_overflow(*elements, shape.back(), elements)) {
      throw bad_input("{}: {} is impossibly large", value.where(), value.dump());
    }
  }
  return shape;
}

CheckpointPiece parse_piece(const JsonValue& value, std::int64_t file_bytes) {
  CheckpointPiece piece;
  std::int64_t elements = 0;
  piece.name = value.at("name").string();
  piece.state = parse_state(value.at("state"));
  piece.shape = parse_shape(value.at("shape"), &elements);
  piece.first = value.at("first").integer(0, elements - 1);
  piece.count = value.at("count").integer(1, elements - piece.first);
  if (piece.count > file_bytes / 4) throw bad_input("{}: larger than its file", value.where());
  piece.offset = value.at("offset").integer(0, file_bytes - piece.bytes());
  const JsonValue crcs = value.at("crc32c");
  const std::string digits = crcs.string();
  const auto blocks = static_cast<std::size_t>(div_up(piece.count, kBlockElements));
  if (digits.size() != 8 * blocks) throw bad_input("{}: {} checksums were expected", crcs.where(), blocks);
  for (std::size_t i = 0; i < blocks; ++i) {
    piece.crcs.push_back(parse_crc(std::string_view(digits).substr(8 * i, 8), crcs.where()));
  }
  return piece;
}

RankFile parse_file(const JsonValue& value) {
  RankFile file;
  file.rank = static_cast<int>(value.at("rank").integer(0, kMostRanks));
  file.bytes = value.at("bytes").integer(0);
  file.rest_crc = parse_crc(value.at("rest_crc32c"));
  const JsonValue pieces = value.at("pieces");
  for (std::size_t i = 0; i < pieces.size(); ++i) file.pieces.push_back(parse_piece(pieces.at(i), file.bytes));
  std::sort(file.pieces.begin(), file.pieces.end(),
            [](const CheckpointPiece& a, const CheckpointPiece& b) { return a.offset < b.offset; });
  for (std::size_t i = 1; i < file.pieces.size(); ++i) {
    if (file.pieces[i - 1].offset + file.pieces[i - 1].bytes() > file.pieces[i].offset) {
      throw bad_input("{}: {} and {} overlap", value.where(), file.pieces[i - 1].name, file.pieces[i].name);
    }
  }
  return file;
}

std::string to_json(const CheckpointPiece& piece) {
  std::string crcs;
  for (const std::uint32_t crc : piece.crcs) crcs += fmt::format("{:08x}", crc);
  return fmt::format(R"({{"name":{},"state":"{}","shape":[{}],"first":{},"count":{},"offset":{},"crc32c":"{}"}})",
                     json_quote(piece.name), name_of(piece.state), joined(piece.shape), piece.first, piece.count,
                     piece.offset, crcs);
}

std::string first_line(std::string_view rest) {
  return fmt::format("{{\"crc32c\": \"{:08x}\",\n", crc32c(rest));
}

}  // namespace

std::string CheckpointPiece::dataset() const {
  return fmt::format("/{}/{}@{}", name_of(state), name, first);
}

std::string RankFile::name() const {
  return fmt::format("rank-{:04}.h5", rank);
}

std::string RankFile::to_json() const {
  std::string list;
  for (const CheckpointPiece& piece : pieces) list += (list.empty() ? "\n  " : ",\n  ") + sherd::to_json(piece);
  return fmt::format(R"({{"rank":{},"bytes":{},"rest_crc32c":"{:08x}","pieces":[{}]}})", rank, bytes, rest_crc, list);
}

Manifest::Manifest(CheckpointMetadata of_run, const std::vector<std::string>& parts) : metadata(std::move(of_run)) {
  JsonDocument::parse(metadata.config_json, "the configuration");
  SHERD_CHECK(static_cast<int>(parts.size()) == metadata.world_size, "{} parts of {} ranks", parts.size(),
              metadata.world_size);
  for (const std::string& part : parts) {
    const std::string where = fmt::format("the part of rank {}", files.size());
    add_file(parse_file(JsonDocument::parse(part, where).root()), where);
  }
  sort_and_check_coverage("this checkpoint");
}

Manifest Manifest::load(const std::filesystem::path& path) {
  const std::string text = read_text(path, kManifestLimit), where = path.string();
  const std::size_t line_end = text.find('\n');
  const std::size_t rest_begin = line_end == std::string::npos ? text.size() : line_end + 1;
  const std::string_view rest = std::string_view(text).substr(rest_begin);
  if (text.substr(0, rest_begin) != first_line(rest)) {
    throw bad_input("{}: damaged: its checksum does not match; use an older checkpoint", where);
  }
  const JsonDocument document = JsonDocument::parse(text, where);
  const JsonValue root = document.root();
  const std::int64_t format = root.at("format").integer();
  if (format != kFormat) {
    throw bad_input("{}: format {}; this program reads format {}, use the one that wrote it", where, format, kFormat);
  }
  Manifest manifest;
  manifest.metadata.step = root.at("step").integer(0);
  manifest.metadata.tokens_seen = root.at("tokens_seen").integer(0);
  manifest.metadata.world_size = static_cast<int>(root.at("world_size").integer(1, kMostRanks));
  manifest.metadata.config_json = root.at("config").dump();
  if (root.has("tokenizer_sha256")) manifest.metadata.tokenizer_sha256 = root.at("tokenizer_sha256").string();
  if (root.has("algorithms")) manifest.metadata.algorithms = root.at("algorithms").string();
  manifest.index_bytes = root.at("index").at("bytes").integer(0);
  manifest.index_crc = parse_crc(root.at("index").at("crc32c"));
  const JsonValue files = root.at("files");
  for (std::size_t i = 0; i < files.size(); ++i) manifest.add_file(parse_file(files.at(i)), where);
  if (static_cast<int>(manifest.files.size()) != manifest.metadata.world_size) {
    throw bad_input("{}: {} files of {} ranks", where, manifest.files.size(), manifest.metadata.world_size);
  }
  manifest.sort_and_check_coverage(where);
  return manifest;
}

void Manifest::add_file(RankFile file, const std::string& where) {
  if (file.rank != static_cast<int>(files.size())) {
    throw bad_input("{}: rank {} where rank {} was expected", where, file.rank, files.size());
  }
  for (const CheckpointPiece& piece : file.pieces) {
    Parameter& parameter = parameters[piece.name];
    if (parameter.shape.empty()) parameter.shape = piece.shape;
    if (parameter.shape != piece.shape) {
      throw bad_input("{}: {} has the shape ({}) and ({})", where, piece.name, joined(parameter.shape),
                      joined(piece.shape));
    }
    parameter.pieces[static_cast<std::size_t>(piece.state)].push_back({files.size(), piece});
  }
  files.push_back(std::move(file));
}

void Manifest::sort_and_check_coverage(const std::string& where) {
  for (auto& [name, parameter] : parameters) {
    std::int64_t elements = 1;
    for (const std::int64_t d : parameter.shape) elements *= d;
    for (std::vector<Location>& pieces : parameter.pieces) {
      std::sort(pieces.begin(), pieces.end(),
                [](const Location& a, const Location& b) { return a.piece.first < b.piece.first; });
      std::int64_t covered = 0;
      for (const Location& at : pieces) {
        if (at.piece.first != covered) {
          throw bad_input("{}: the pieces of {} ({}) {} at element {}", where, name, name_of(at.piece.state),
                          at.piece.first > covered ? "leave a hole" : "overlap", std::min(covered, at.piece.first));
        }
        covered = at.piece.end();
      }
      if (!pieces.empty() && covered != elements) {
        throw bad_input("{}: the pieces of {} ({}) end at element {} of {}", where, name,
                        name_of(pieces.front().piece.state), covered, elements);
      }
    }
  }
}

std::string Manifest::to_text() const {
  std::string list;
  for (const RankFile& file : files) list += (list.empty() ? "\n" : ",\n") + file.to_json();
  const std::string rest = fmt::format(
      "\"format\": {},\n\"step\": {},\n\"tokens_seen\": {},\n\"world_size\": {},\n\"config\": {},\n"
      "\"tokenizer_sha256\": {},\n\"algorithms\": {},\n\"index\": {{\"bytes\": {}, \"crc32c\": "
      "\"{:08x}\"}},\n\"files\": [{}\n]}}\n",
      kFormat, metadata.step, metadata.tokens_seen, metadata.world_size, metadata.config_json,
      json_quote(metadata.tokenizer_sha256), json_quote(metadata.algorithms), index_bytes, index_crc, list);
  return first_line(rest) + rest;
}

}  // namespace sherd
